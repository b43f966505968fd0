"""FLARETrain's library; START HERE: `panel` for what a person sees, `logic` for what it does.

`cases` is the table of the training set, `run` a training, `comparison` the old model against the
new. Files whose names hold "panel" or "table" need Slicer's widgets. What the two modules share is
in FLARESegLib.
"""
