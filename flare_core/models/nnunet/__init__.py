"""nnU-Net's trained models as packages of ours: version 2 and version 1, without its code.

Start at `convert`. `folder` finds the files, `plans`, `labels` and `v1` read them, `checkpoint`
reads weights, and `v1` pickles too, without running anything in them; `shapes` knows the tensors.
"""
