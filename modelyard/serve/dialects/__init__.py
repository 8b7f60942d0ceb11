"""Protocols that others defined, each a thin adapter over the one data plane."""
