"""Self-training in rounds: teacher, pseudo labels, student, comparison, next cases.

Start at `run`. `state` is what a run's folder says, `stages` what a round does, `evidence` how far
a pseudo label is believed, `comparison` whether the new model is better.
"""
