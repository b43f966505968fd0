"""A case store under eight writers, each killed at a random moment, with others beside them.

While they add scans, labels, statuses and scores, two imports of one data set, a rebuild, an export
or a check run as well, and are killed too. Whatever a process had said is done must be there
afterwards; the next run must find nothing wrong and leave nothing behind.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from core.cases.small_cases import GRID, LIVER, SPLEEN, labels
from flare_core.cases.rebuild import rebuild
from flare_core.cases.store import CaseStore, LabelFacts, open_store
from flare_core.datasets.exchange.exporting import export_nnunet
from flare_core.datasets.exchange.importing import ImportSettings, import_dataset
from flare_core.datasets.stored import cases_of_store
from flare_core.errors import InputError
from flare_core.imaging import label_map  # noqa: F401 - loaded before anything is forked
from flare_core.imaging.files import write_labels, write_volume
from flare_core.imaging.volume import Volume
from force.counts import Counts, one
from force.killing import apart, read_here, temporary

WRITERS = 8
WAVES = 3
"""Groups of processes that are killed, one after the other, before somebody looks."""
LONGEST_S = 2.0
"""A process that nobody has killed by then is killed."""
MOST_CASES = 60
"""A store with more makes room for a new one: it would be looked at for longer than it is used."""
IMPORTED = 3
"""Cases of the data set that is imported."""
FACTS = LabelFacts("pseudo", ("liver", "spleen"))
TARGET = "Dataset501_X"

Promise = tuple[str, str, str]
"""What was done, to which case, and what tells it apart."""


@dataclass
class World:
    """A store, what comes into it, and what was promised."""

    folder: Path
    promised: list[Promise] = field(default_factory=list)

    @property
    def store(self) -> Path:
        """The store's folder."""
        return self.folder / "store"


def run(kills: int, seed: int, folder: Path) -> Counts:
    """Kill so many processes; `seed` decides who does what and about when.

    Parameters
    ----------
    kills : int
        Processes killed; ten or so for each second.
    seed : int
        Of the first group of processes; the next ones count up.
    folder : Path
        An empty folder.
    """
    counts, world, turn = Counts(), World(folder), seed
    while counts.tried < kills:
        chance = random.Random(f"kill-store-{turn}")
        if turn == seed or world.promised and _is_large(world):
            world = World(folder / f"world{turn}")
            _must(apart(lambda world=world: _prepare(world)))
        died = 0
        for wave in range(WAVES):  # each finds what the one before it left
            most = min(kills - counts.tried - died, WRITERS + 2)
            died += _killed(world, chance, most, f"t{turn}v{wave}") if most > 0 else 0
        kind, why = _judged(world)
        counts += one(kind, f"kill_store.run({kills}, {turn}, folder)", f"turn {turn}: {why}")
        counts += sum((one("right") for _ in range(died - 1)), Counts())
        if kind != "right":
            world = World(folder / f"world{turn}-again")
            _must(apart(lambda world=world: _prepare(world)))
        turn += 1
    return counts


def _must(ended: Any) -> None:
    if ended.code != 0:
        raise RuntimeError(ended.said or f"ended with {ended.code}")


def _prepare(world: World) -> None:
    """Make an empty store, and a data set to import."""
    world.folder.mkdir(parents=True)
    temporary(world.folder)
    read_here()
    open_store(world.store, create=True).close()
    labels(world.folder / "truth.nii.gz", {LIVER: 20, SPLEEN: 5})
    (world.folder / "out").mkdir()
    data = world.folder / "Dataset005_X"
    for number in range(IMPORTED):
        _scan(data / "imagesTr" / f"nn{number}_0000.nii.gz", f"nn{number}")
        part = np.zeros(GRID.shape, np.uint8)
        part[number % 4, :3] = 2  # the data set's own number: to be converted
        (data / "labelsTr").mkdir(exist_ok=True)
        write_labels(data / "labelsTr" / f"nn{number}.nii.gz", Volume(part, GRID))
    table = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "spleen": 1, "liver": 2},
             "numTraining": IMPORTED, "file_ending": ".nii.gz"}  # fmt: skip
    (data / "dataset.json").write_text(json.dumps(table), "utf-8")


def _scan(path: Path, seed: str) -> Path:
    """Write a scan of which there is no second one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.frombuffer(random.Random(seed).randbytes(2 * int(np.prod(GRID.shape))), np.int16)
    write_volume(path, Volume((values % 500 - 200).astype(np.int16).reshape(GRID.shape), GRID))
    return path


# --- what is killed


def _write(world: World, name: str, tell: Callable[[Promise], None]) -> None:
    """Add, label, judge and score without end; tell of each when it is done."""
    chance = random.Random(name)
    with open_store(world.store) as store:
        for turn in range(10**6):
            case = f"{name}n{turn}"
            store.add_case(_scan(world.folder / "in" / f"{case}.nii.gz", case))
            tell(("added", case, ""))
            older = f"{name}n{chance.randint(0, turn)}"
            number = store.add_labels(older, world.folder / "truth.nii.gz", FACTS).number
            tell(("labelled", older, str(number)))
            store.set_status(older, "accepted", reason=case)
            tell(("status", older, case))
            store.set_scores(older, {case: turn})
            tell(("scored", older, case))


def _import(world: World, name: str, tell: Callable[[Promise], None]) -> None:
    with open_store(world.store) as store:
        import_dataset(
            store, world.folder / "Dataset005_X", ImportSettings(author=name, assume_hu=True)
        )
    for number in range(IMPORTED):
        tell(("labelled", f"nn{number}", "1"))


def _rebuild(world: World, name: str, tell: Callable[[Promise], None]) -> None:
    while True:
        rebuild(world.store)


def _export(world: World, name: str, tell: Callable[[Promise], None]) -> None:
    target = world.folder / "out" / TARGET
    if not target.exists():
        try:
            _exported(world)
        except InputError:
            if not (target / "cases.json").is_file():  # else the other one was quicker
                raise


def _exported(world: World) -> None:
    with open_store(world.store) as store:
        cases = cases_of_store(store)
    if cases:
        export_nnunet(world.folder / "out" / TARGET, cases)


def _verify(world: World, name: str, tell: Callable[[Promise], None]) -> None:
    with open_store(world.store) as store:
        while True:
            for problem in store.verify():
                if problem.kind != "facts" or "missing" not in problem.what:
                    tell(("wrong", problem.case, problem.what))


OTHERS = (
    (_import, _import), (_rebuild,), (_export, _export), (_verify,), (_rebuild, _verify),
    (_import, _rebuild), (),
)  # fmt: skip
"""Who works beside the writers, by chance."""

Work = Callable[[World, str, Callable[[Promise], None]], None]


def _child(work: Work, world: World, name: str, pipe: Connection) -> None:
    quiet = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(quiet, descriptor)
    temporary(world.folder)
    read_here()
    try:
        work(world, name, pipe.send)
    except Exception as error:  # noqa: BLE001 - told to the parent
        with suppress(OSError):
            pipe.send(("failed", name, f"{type(error).__name__}: {error}"))
    finally:
        os._exit(0)


def _killed(world: World, chance: random.Random, most: int, group: str) -> int:
    """Start writers and others, kill them one after the other; return how many were killed."""
    context = multiprocessing.get_context("fork")
    works: list[Work] = [*chance.choice(OTHERS), *[_write] * WRITERS][: max(1, most)]
    running = []
    for number, work in enumerate(works):
        ours, theirs = context.Pipe(duplex=False)
        name = f"{group}w{number}"
        process = context.Process(target=_child, args=(work, world, name, theirs))
        process.start()
        theirs.close()
        running.append((process, ours))
    start = time.monotonic()
    ends = sorted(chance.uniform(0.05, LONGEST_S) for _ in running)
    for (process, _), end in zip(chance.sample(running, len(running)), ends, strict=True):
        while time.monotonic() - start < end:
            world.promised += [p for _, pipe in running for p in _received(pipe)]
            time.sleep(0.002)
        with suppress(ProcessLookupError):
            os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
    for _, pipe in running:
        world.promised += _received(pipe)
        pipe.close()
    return len(running)


def _received(pipe: Connection) -> Iterator[Promise]:
    """Yield what a process has said; a word that it was killed in is none."""
    with suppress(EOFError, OSError):
        while pipe.poll():
            yield pipe.recv()


# --- what must be so afterwards


def _judged(world: World) -> tuple[str, str]:
    """Let the next run come, and say how that ended."""
    for what, case, told in world.promised:
        if what in ("failed", "wrong"):
            return "crashed" if what == "failed" else "lost", f"{case}: {told}"
    said = world.folder / "said"
    for kind, look in (("lost", _lost), ("left", _left)):
        said.write_text("", "utf-8")
        ended = apart(lambda look=look: said.write_text(look(world), "utf-8") and 0)
        if ended.code != 0:
            return "crashed", f"the next run: {ended.code} {ended.said[-300:]}"
        if why := said.read_text("utf-8"):
            return kind, why
    return "right", ""


def _lost(world: World) -> str:
    """Open the store, which settles it; compare it with what was promised, and with its files."""
    temporary(world.folder)
    read_here()
    with open_store(world.store) as store:
        if wrong := [problem for problem in store.verify() if problem.wrong]:
            return f"{len(wrong)} problems: {wrong[0]}"
        missing = _missing(store, world.promised)
        before = _everything(store)
    if missing:
        return f"{len(missing)} promises, as {missing[0]}"
    rebuild(world.store)
    with open_store(world.store) as store:
        for old, new in zip(before, _everything(store), strict=True):
            if old != new:
                return f"a rebuild gave another store: {_difference(old, new)}"
    for path in world.store.glob("catalogue-*"):
        path.unlink()
    return ""


def _everything(store: CaseStore) -> tuple[Any, ...]:
    scores = sorted(
        (case, tuple(sorted(each.items()))) for case, each in store.score_table().items()
    )
    return store.cases(), store.history(), tuple(scores)


def _difference(old: tuple[Any, ...], new: tuple[Any, ...]) -> str:
    return f"{[x for x in old if x not in new][:2]} -> {[x for x in new if x not in old][:2]}"


def _missing(store: CaseStore, promised: list[Promise]) -> list[Promise]:
    events = {(e.what, e.case, e.detail) for e in store.history()}
    scores = store.score_table()
    names = {record.name for record in store.cases()}
    there: dict[str, Callable[[str, str], bool]] = {
        "added": lambda case, told: case in names and store.case(case).image.is_file(),
        "labelled": lambda case, told: store.version(case, int(told)).path.is_file(),
        "status": lambda case, told: ("status", case, told) in events,
        "scored": lambda case, told: told in scores[case],
    }
    return [promise for promise in promised if not there[promise[0]](*promise[1:])]


def _left(world: World) -> str:
    """Import and export once more; then nothing unfinished may lie about."""
    temporary(world.folder)
    read_here()
    with open_store(world.store) as store:
        import_dataset(store, world.folder / "Dataset005_X", ImportSettings(assume_hu=True))
        versions = [len(store.versions(f"nn{number}")) for number in range(IMPORTED)]
        if versions != [1] * IMPORTED:
            return f"versions of imported cases: {versions}"
    target = world.folder / "out" / TARGET
    with suppress(InputError):  # it is there, most often
        _exported(world)
    if not (target / "cases.json").is_file() or not (target / "dataset.json").is_file():
        return "an export that is not whole"
    found = [*(world.store / "pending").iterdir(), *world.store.rglob(".*"),
             *(world.folder / "tmp").iterdir(), *(world.folder / "out").glob(".*")]  # fmt: skip
    for path in (world.folder / "in").glob("*"):
        path.unlink()
    if target.exists():
        target.rename(world.folder / "out" / f"done-{time.monotonic_ns()}")
    return f"{found[0]}" if found else ""


def _is_large(world: World) -> bool:
    return len(list((world.store / "cases").iterdir())) > MOST_CASES
