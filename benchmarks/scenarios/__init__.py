"""One file a scenario; each has `run(plan)` and gives back plain data for the tables and plots."""
