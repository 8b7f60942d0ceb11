"""Bundles: what a compiled model is on disk."""
