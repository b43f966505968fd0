"""FLARE's data sets, 2021 to 2024: their folders, their label numbers, what is odd in them.

Start at `dataset`. `layouts` has a class per edition.
"""
