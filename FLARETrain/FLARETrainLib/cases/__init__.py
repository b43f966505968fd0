"""The cases of the training set: add, find, open, correct, decide. Start at `panel`."""
