"""FLARE's ranking of teams: schemes, tables, significance and stability.

Start at `rank`. `schemes` has a ranking scheme per edition, `files` reads the teams' tables.
"""
