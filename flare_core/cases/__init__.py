"""The case store: scans and every version of their labels, kept through kills and two writers.

Start at `store`. `schema` says what is kept, `rows` and `records` how, `add`, `write` and `change`
write, `read` reads, `settle`, `rebuild` and `verify` mend. May use imaging and anatomy.
"""
