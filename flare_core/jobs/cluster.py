"""Where the workers of a cluster are, as ``--cluster`` says it, and the connection to them.

``local:N`` starts N processes on this computer, ``slurm:FILE`` and ``pbs:FILE`` submit jobs as a
JSON file says (`Queue`), ``tcp://HOST:PORT`` is a scheduler that somebody started.
Needs dask.distributed, and dask-jobqueue for the queues: ``pip install 'flareseg[cluster]'``.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare_core.errors import InputError
from flare_core.json_fields import decode, read_json_file
from flare_core.spread.shared import OPTION

if TYPE_CHECKING:
    from distributed import Client

INSTALL = "pip install 'flareseg[cluster]'"
LEGAL = "local:N, slurm:FILE, pbs:FILE, tcp://HOST:PORT or tls://HOST:PORT"
QUEUES = ("slurm", "pbs")

CONNECT_S = 20.0
"""How long a scheduler is given to answer."""

START_S = 120.0
"""How long workers that should be there already, or start here, are waited for."""


FOR_WORKERS = "distributed.nanny.pre-spawn-environ"
SAFE_PATH = "PYTHONSAFEPATH"

LOST_WORKER = "distributed.deploy.lost-worker-timeout"
LOST_AFTER = "7 days"
"""A worker that ended is started again by its nanny. Dask by default ends the nanny, or cancels the
job, if that takes more than 15 s, as it does on a busy computer: the worker was gone for good."""

UNWATCHED = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "500ms",
    "distributed.admin.system-monitor.interval": "2s",
}
"""Of local workers, which have few cases and long ones: Dask by default looks every 10 ms what each
is doing and every 20 ms whether it can answer, a seventh of a core for two that are idle."""


@dataclass(frozen=True)
class Queue:
    """A file for ``slurm:FILE`` or ``pbs:FILE``: what each job asks for. A job is one worker."""

    jobs: int
    """How many jobs are submitted."""
    cores: int
    """Processor cores of a job; its one worker does one case at a time with all of them."""
    memory: str
    """Memory of a job, as in 16GB."""
    walltime: str = "24:00:00"
    """When the system ends a job, hours:minutes:seconds."""
    queue: str | None = None
    """Partition (SLURM) or queue (PBS)."""
    account: str | None = None
    """Who pays."""
    interface: str | None = None
    """Network by which the nodes reach this computer, as in ib0."""
    directives: tuple[str, ...] = ()
    """More lines for the job's head, as in --gres=gpu:1."""
    prologue: tuple[str, ...] = ()
    """Shell lines before the worker starts, as in module load cuda."""
    python: str | None = None
    """The nodes' Python with FLARESeg; by default this one's path."""
    gpus: int = 0
    """Graphics cards of a job, offered to cases that want one; `directives` ask for them."""
    logs: str | None = None
    """Folder for the jobs' output; by default where the system puts it."""


@dataclass(frozen=True)
class Place:
    """Where workers are."""

    kind: str
    """local, slurm, pbs or scheduler."""
    workers: int = 0
    """How many are started; 0 for a scheduler, which has its own."""
    address: str = ""
    """Of a scheduler."""
    queue: Queue | None = None
    """What a job asks for."""


def place_of(text: str) -> Place:
    """Read what ``--cluster`` was given; nothing is started.

    Raises
    ------
    InputError
        If it is none of the forms, its file is not as it should be, or a package is missing.

    Examples
    --------
    >>> place_of("local:3").workers
    3
    """
    kind, _, rest = text.partition(":")
    if kind == "local" and re.fullmatch("[1-9][0-9]{0,3}", rest):
        place = Place("local", int(rest))
    elif kind in QUEUES and rest:
        queue = read_queue(Path(rest))
        place = Place(kind, queue.jobs, queue=queue)
    elif re.fullmatch(r"(tcp|tls)://[^/\s]+:[0-9]{1,5}", text):
        place = Place("scheduler", address=text)
    else:
        raise InputError(OPTION, text, LEGAL, "Name one of them, as in local:2.")
    _require(place)
    return place


def _require(place: Place) -> None:
    """Refuse what needs a package that is not there; local processes need none."""
    if place.kind == "local":
        return
    for package in ("distributed", *(["dask_jobqueue"] if place.queue else [])):
        if find_spec(package) is None:
            raise InputError(
                OPTION,
                f"a Python without the package {package}",
                f"one with it: {INSTALL}",
                f"Run: {INSTALL}",
            )


def read_queue(file: Path) -> Queue:
    """Read what a job asks for.

    Raises
    ------
    InputError
        If the file cannot be read, or holds what it should not.
    """
    legal = "a JSON file with jobs, cores, memory and more: see docs/cluster.md"
    value = read_json_file(file, argument=OPTION, legal=legal, action="Write it as in that page.")
    queue = decode(Queue, value, str(file))
    numbers = {"jobs": queue.jobs, "cores": queue.cores}
    for name, number in numbers.items():
        if number < 1:
            raise InputError(f"{file}: {name}", str(number), "1 or more", "Correct the file.")
    if queue.gpus < 0 or not re.fullmatch(r"[0-9.]+ ?[KMGT]i?B", queue.memory):
        came = f"memory {queue.memory!r}, gpus {queue.gpus}"
        raise InputError(str(file), came, "as in 16GB; 0 or more", "Correct the file.")
    return queue


@contextmanager
def connected(place: Place) -> Iterator[Client]:
    """Yield a client with at least one worker; workers that were started here end with it.

    Jobs of a queue are waited for as long as it takes.

    Raises
    ------
    InputError
        If the scheduler does not answer or has no workers.
    """
    import dask
    from distributed import Client

    with ExitStack() as stack:
        stack.enter_context(dask.config.set({LOST_WORKER: LOST_AFTER}))
        where = place.address or stack.enter_context(_started(place))
        try:
            client = stack.enter_context(
                Client(where, timeout=CONNECT_S, set_as_default=False, name="flare")
            )
        except OSError as error:
            raise InputError(
                OPTION,
                f"{place.address}: nobody answers ({error})",
                "the address of a scheduler that runs",
                "Start one with `dask scheduler`, or check host, port and firewall.",
            ) from error
        _wait_for_a_worker(client, None if place.queue else START_S)
        yield client


def _wait_for_a_worker(client: Client, limit_s: float | None) -> None:
    try:
        client.wait_for_workers(1, timeout=limit_s)
    except TimeoutError as error:
        raise InputError(
            OPTION,
            f"a scheduler without workers, even after {limit_s:.0f} s",
            "a scheduler with at least one worker",
            "Start workers with `dask worker SCHEDULER --nthreads 1`.",
        ) from error


def _started(place: Place) -> Any:
    """Start processes here, or submit jobs; return the cluster, a context that ends them."""
    if place.queue is None:
        return local_cluster(place.workers)
    cluster = queue_cluster(place.kind, place.queue)
    cluster.scale(jobs=place.workers)
    return cluster


@contextmanager
def local_cluster(workers: int) -> Iterator[Any]:
    """Yield a cluster of processes on this computer; they end with it.

    As everywhere in this program, no process runs a file of the current folder (Python >= 3.11):
    neither a worker nor the helper that multiprocessing starts before it.
    """
    import dask
    from distributed import LocalCluster

    with dask.config.set(UNWATCHED | {f"{FOR_WORKERS}.{SAFE_PATH}": "1"}):
        names = {*dask.config.get(FOR_WORKERS), "PYTHONHASHSEED"}
        with _taken_back(names):
            os.environ.setdefault(SAFE_PATH, "1")
            cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                dashboard_address="127.0.0.1:0",
                silence_logs="CRITICAL",
                scheduler_kwargs={"allowed_failures": 0},
            )
    with _taken_back(names), cluster:  # a worker that is started again is given them again
        yield cluster


@contextmanager
def _taken_back(names: Collection[str]) -> Iterator[None]:
    """Leave the variables in this process's environment as they are now.

    Dask hands its workers theirs by setting them here: the current folder off Python's path, but
    also one thread for OpenMP, which a training in this process would then be left with.
    """
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


SAFE_START = """\
import os, runpy, site, sys
more = os.environ.get("PYTHONPATH", "").split(os.pathsep)
sys.path[:0] = [entry for entry in more if os.path.isabs(entry)]
sys.prefix == sys.base_prefix and site.addsitedir(site.getusersitepackages())
sys.argv = sys.argv[2:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
"""Does as Python's ``-m MODULE``, which would look into the current folder first. An isolated
Python hands that on to those it starts, whatever its version; what it leaves out is put back."""


def safe_python(python: str) -> str:
    """Return how a shell starts a Python with ``-m MODULE`` that runs no file of its folder.

    Parameters
    ----------
    python : str
        For the shell: a program, perhaps with words before and behind it.
    """
    return f"{python} -I -c {shlex.quote('; '.join(SAFE_START.splitlines()))}"


def queue_cluster(kind: str, queue: Queue) -> Any:
    """Return the cluster of a queueing system; nothing is submitted yet.

    Parameters
    ----------
    kind : str
        One of `QUEUES`.
    """
    from dask_jobqueue import PBSCluster, SLURMCluster

    offered = ["--resources", f"GPU={queue.gpus}"] if queue.gpus else []
    common = {
        "cores": 1,  # one thread: the case itself uses the job's cores
        "processes": 1,
        "memory": queue.memory,
        "walltime": queue.walltime,
        "queue": queue.queue,
        "account": queue.account,
        "interface": queue.interface,
        "job_extra_directives": list(queue.directives),
        "job_script_prologue": list(queue.prologue),
        "worker_extra_args": offered,
        "log_directory": queue.logs,
        "job_name": "flare",
        "scheduler_options": {"allowed_failures": 0, "dashboard_address": ":0"},
    }
    common["python"] = safe_python(queue.python or shlex.quote(sys.executable))
    if kind == "slurm":
        return SLURMCluster(**common, job_cpu=queue.cores)
    chunk = f"select=1:ncpus={queue.cores}:mem={queue.memory.replace(' ', '')}"
    return PBSCluster(**common, resource_spec=chunk)
