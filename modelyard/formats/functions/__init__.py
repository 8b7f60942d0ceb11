"""Python functions and classes of the operator, as models. They run in the child like everything else."""
