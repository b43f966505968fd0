"""What is in a data set: sizes, spacings, labels and intensities, case by case and together.

Start at `summarise`.
"""
