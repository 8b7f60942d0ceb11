"""Bodies of the protocols that others defined: bytes to requests, answers to bytes."""
