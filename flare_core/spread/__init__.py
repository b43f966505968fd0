"""One function over many cases: in this process, in several of this computer, or on a cluster.

Start at `cases`: what goes in, what comes out, what a `SpreadCases` is. `here` are those of this
computer, `on_dask` is the one of a Dask cluster, `shared` is how its workers are asked whether they
see what we see. Uses nothing of ours but errors and processes, so that whoever has cases may use
it; commands choose with `jobs.cluster`.
"""
