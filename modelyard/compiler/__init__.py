"""From an imported graph to a proved one: check, passes, verify."""
