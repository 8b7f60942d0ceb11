"""One small server a file, each as its own documentation would write it; each runs in its own environment."""
