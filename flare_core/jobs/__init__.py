"""Whole jobs, below every front end: the outputs of a case, a folder of cases, the warm worker.

Start at `one_case`. `outputs` says which files there are and writes them, `batch` runs a folder,
`worker` answers requests, `reports` and `progress` tell how far it is. May use segment and report.
"""
