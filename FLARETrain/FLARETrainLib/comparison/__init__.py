"""Old model against new, organ by organ. Start at `panel`."""
