"""nnU-Net's trained models as packages of ours: version 2 and version 1, without its code.

Start at `convert`. `folder` finds the files, `plans`, `names` and `v1` read them, `checkpoint` and
`v1_pickle` read weights and pickles without running anything in them.
"""
