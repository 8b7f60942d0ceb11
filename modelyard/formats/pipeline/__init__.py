"""Several steps, models and functions, served as one model."""
