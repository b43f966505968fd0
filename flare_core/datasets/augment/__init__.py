"""Patches for training: cut, turned, bent and altered in one interpolation.

Start at `patch`. `settings` says what may change, `sampling_grid` where patches are cut, `anatomy`
what changes inside the body.
"""
