"""The page of an evaluation: scores by organ and case, the worst cases as pictures.

Start at `page`.
"""
