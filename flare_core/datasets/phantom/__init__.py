"""Phantoms: an abdomen from a seed, CT and labels, for tests, trials and training.

Start at `make`. `anatomy` has the organs, `body` and `bones` what is around them, `courses` the
tubes, `paint` turns shapes into voxels.
"""
