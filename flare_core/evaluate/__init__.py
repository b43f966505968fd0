"""Two label maps in, scores out."""
