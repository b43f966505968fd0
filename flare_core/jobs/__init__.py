"""Whole jobs, below every front end: the outputs of a case, a folder of cases, the warm worker.

Start at `one_case`. `outputs` says which files there are and writes them, `batch` runs a folder,
`worker` answers requests, `measure` watches a command, `progress` and `reports` tell how far it is.
`result_files` are those of an evaluation, a ranking, a summary. May use report and all below it.
"""
