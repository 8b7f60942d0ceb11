"""Bytes by digest: the places where they are kept."""
