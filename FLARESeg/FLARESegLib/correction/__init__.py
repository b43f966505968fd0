"""Correct, review and hand on a result. Start at `panel`; `submission` writes to the case store."""
