"""Pictures and pages of a result: one HTML page for each kind, with its charts.

`case` and `evaluation` are rooms, with pictures of scans; `dataset`, `ranking` and `rounds` are one
file each. All charts are drawn by `charts`, all pages are made of `html`. A page shows the records
of the rooms below.
"""
