"""Pictures and the page of one case: CT with labels, the organs' table.

Start at `page`; `overlay` draws slices, `sheet` puts them together.
"""
