"""Releases: pure rules for what carries traffic, what follows what, and when to turn back."""
