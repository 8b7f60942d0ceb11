"""Files of network frameworks: one file a framework, imported in a child only."""
