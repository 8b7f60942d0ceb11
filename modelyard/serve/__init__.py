"""The server process: listeners, data plane, lifecycle."""
