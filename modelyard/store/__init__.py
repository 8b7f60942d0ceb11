"""The registry: what is named, versioned, released and remembered."""
