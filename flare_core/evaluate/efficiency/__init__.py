"""Seconds, memory and GPU memory of a program, measured as FLARE does.

Start at `measure`. `watcher` looks at the processes, `probe` reads one.
"""
