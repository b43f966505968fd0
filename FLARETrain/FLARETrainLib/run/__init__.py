"""Trainings: start one, follow it, stop and resume it. Start at `panel`."""
