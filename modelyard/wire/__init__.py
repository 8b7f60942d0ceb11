"""Protocol codecs: bytes in, values out; no socket, no clock."""
