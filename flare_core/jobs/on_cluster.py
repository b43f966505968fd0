"""What spreads the cases of a command over the workers that ``--cluster`` names.

One way for all commands: their rooms (`evaluate`, `datasets`, `train`) take a `SpreadCases` and do
not know where it leads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from flare_core.errors import InputError
from flare_core.jobs.cluster import Place, connected, place_of
from flare_core.jobs.progress import Reporter
from flare_core.spread.cases import SpreadCases
from flare_core.spread.here import in_processes
from flare_core.spread.on_dask import Terms, check_resources, spread
from flare_core.spread.shared import OPTION, shared

CLUSTER: tuple[str, dict[str, Any]] = (
    OPTION,
    {"metavar": "WHERE", "help": "local:N, slurm:FILE, pbs:FILE, tcp://HOST:PORT (Dask)"},
)
"""The option of every command that spreads cases."""

GPU = {"GPU": 1.0}
"""What a case wants of its worker if it is computed on a graphics card."""

Tell = Callable[[str], None]
"""Tells a person a sentence."""


@contextmanager
def spread_of(
    arguments: Any,
    reporter: Reporter,
    *,
    results: Path | None = None,
    inputs: Iterable[Path] = (),
    resources: Mapping[str, float] | None = None,
) -> Iterator[SpreadCases | None]:
    """Yield what does cases on the workers of ``--cluster``; None where the option is not given.

    Parameters
    ----------
    arguments : argparse.Namespace
        Holds `cluster`, and `workers` where the command has that option.
    reporter : Reporter
        Tells who is waited for, and of workers that go.
    results : Path, optional
        Folder that workers write to.
    inputs : iterable of Path
        Files and folders that they read.
    resources : mapping, optional
        What a case wants of its worker, as in `GPU`.

    Raises
    ------
    InputError
        If the option cannot be used, or a worker not.
    """
    if arguments.cluster is None:
        yield None
        return
    place = place_of(arguments.cluster)
    if getattr(arguments, "workers", 0):
        raise InputError(
            "--workers",
            f"{arguments.workers} beside --cluster",
            "one of them: a cluster has its own workers",
            "Leave --workers out; local:N starts N workers.",
        )
    with told_of_cluster(place, arguments.cluster, reporter, results, inputs, resources) as found:
        yield found


def threads_each(place: Place) -> int:
    """Return how many CPU threads a worker may use: its part of this computer; 0 elsewhere: all."""
    from flare_core.segment.runtime import available_cores

    return max(1, available_cores() // place.workers) if place.kind == "local" else 0


@contextmanager
def told_of_cluster(
    place: Place,
    where: str,
    reporter: Reporter,
    results: Path | None,
    inputs: Iterable[Path],
    resources: Mapping[str, float] | None = None,
) -> Iterator[SpreadCases]:
    """Yield what does cases at a place; a person, or a program, is told who is waited for."""
    reporter.log(f"Waiting for workers of {where}", {"event": "waiting", "cluster": where})

    def tell(text: str) -> None:
        reporter.warn(text, {"event": "workers", "message": text})

    with _workers(place, results, inputs, resources or {}, tell) as found:
        yield found


@contextmanager
def _workers(
    place: Place,
    results: Path | None,
    inputs: Iterable[Path],
    resources: Mapping[str, float],
    tell: Tell,
) -> Iterator[SpreadCases]:
    if place.kind == "local" and find_spec("distributed") is None:
        yield in_processes(place.workers)  # all that can happen here, the standard library can do
        return
    with connected(place) as client, shared(results, inputs) as proof:
        check_resources(client, resources)
        proof.check(client)
        yield partial(spread, client, terms=Terms(proof, resources, tell=tell))
