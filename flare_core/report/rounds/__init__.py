"""The page of a self-training run: what each round took in and what became better.

Start at `page`.
"""
