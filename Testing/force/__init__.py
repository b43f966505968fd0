"""Force: kills at any moment, spoilt inputs, hostile packages, a folder of traps.

`python -m force --short` (from Testing/) tries each harness for seconds, as
Testing/core/test_force.py does; `python -m force --minutes 60`, or `make force`, for an hour. Both
print a table: what was tried and how it ended. Every input is built in code from a seed, so a line
of the table says how to repeat it.

★ Add a reader: an entry in READERS of one of the three `readers_` files. ★ Add a command to kill:
an entry in SCENES of `kills`.
"""
