"""The batcher: admit, queue, merge, run, split."""
