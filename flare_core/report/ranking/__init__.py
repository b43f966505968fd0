"""The page of a ranking: places, significance maps, stability.

Start at `page`.
"""
