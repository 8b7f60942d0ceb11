"""Counters and histograms that merge by addition."""
