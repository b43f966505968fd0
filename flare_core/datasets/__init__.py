"""Cases to learn from: where they are, how they are cached, sampled and augmented."""
