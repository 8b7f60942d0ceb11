"""The control process: one a host; it keeps workers alive and brings them to what the registry wants."""
