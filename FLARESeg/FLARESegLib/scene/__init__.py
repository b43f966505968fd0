"""Nodes of the scene: volumes in, segmentations out, surfaces. Start at `volumes` and `results`."""
