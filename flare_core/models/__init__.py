"""Model packages: what they are, where they come from, where they are kept.

Start at `card` (what a model says of itself) and `package` (the folder it lives in). `catalogue`
and `listing` say which models there are, `install`, `download` and `archive` bring them in,
`in_use` keeps a package while somebody reads it, `combine` puts stages together, `nnunet/` reads
nnU-Net's. May use imaging and anatomy.
"""
