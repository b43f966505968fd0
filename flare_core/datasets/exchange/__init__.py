"""Data sets in and out of a case store, in the folder layouts that other programs use.

Start at `importing` (FLARE21 to 24, plain folders, nnU-Net raw). Out: `exporting`, and
`datasets.case.save_cases` for a list to train from.
"""
