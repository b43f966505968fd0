"""Which models can be chosen, and bringing them in and out. Start at `choices` and `installer`."""
