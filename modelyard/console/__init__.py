"""Skins over flow and client; no logic of their own."""
