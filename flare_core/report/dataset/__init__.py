"""The page of a data set: sizes, spacings, organ volumes and intensities.

Start at `page`.
"""
