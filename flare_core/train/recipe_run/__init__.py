"""A recipe run from cases to a model package. Start at `run`."""
