"""What is changed in a graph before it is run, one file a change."""
