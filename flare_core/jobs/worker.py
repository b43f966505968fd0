"""``flare segment --worker``: a process that stays warm and takes one JSON request per line.

A program (Slicer) starts it once, writes requests to its standard input and reads answers from its
standard output; both are UTF-8, one JSON object per line, times in seconds, fractions 0 to 1. The
log and whatever a library prints go to standard error. Options on the worker's own command line
(``--device``, ``--home`` ...) are the defaults of every request.

First line, before anything heavy is loaded::

    {"event": "ready", "protocol": 1, "version": "0.1.0", "pid": 4711}

`pid` is this process's own number: a program that started a launcher knows only the launcher's.

Requests; `id` is a text or a whole number that the program chooses::

    {"id": 1, "command": "segment", "input": "/a/ct.nrrd", "output": "/tmp/x/labels.nii",
     "settings": {"model": "default", "organs": ["liver"], "device": "auto", "threads": 0,
                  "fast": false, "cascade": true, "precision": "auto", "home": null,
                  "assume_hu": false, "lesion_sensitivity": null},
     "outputs": ["labels", "statistics", "png"], "series": null, "scheme": "flare23"}
    {"id": 2, "command": "preload", "settings": {"model": "default"}}
    {"id": 3, "command": "cancel", "target": 1}
    {"id": 4, "command": "ping"}
    {"id": 5, "command": "shutdown"}
    {"id": 6, "command": "correct", "image": "/tmp/x/ct.nrrd", "labels": "/tmp/x/before.nrrd",
     "strokes": "/tmp/x/strokes.nrrd", "organ": "liver", "output": "/tmp/x/after.nrrd",
     "protected": ["spleen"], "scan": "/a/ct.nrrd", "recompute": false, "settings": {}}
    {"id": 7, "command": "scores", "scan": "/a/ct.nrrd", "recompute": true, "settings": {}}

`segment`, `preload`, `correct` and `scores` may name another computer that computes (`remote`)::

    "on": {"address": "HOST:PORT", "token": "...", "certificate": null, "without_tls": false}

Only `input` and `output` must be given. `output` is a folder or a file name ending .nii.gz, .nii,
.nrrd or .mha (the last three uncompressed); what is there is replaced. `segment`, `preload` and
what recomputes wait in a queue, one runs at a time; `correct` has a queue of its own, as strokes
wait for no run; the rest is answered at once.

`correct` solves one organ anew around strokes (`jobs.corrections`). Image, labels and strokes are
files on one grid, the scan's or a part of it; labels are organ ids before the first stroke, strokes
1 (belongs) and 2 (does not). `scan` is the path that was segmented: the scores of the last run stay
in memory, and with `recompute` those that are gone come from running it again. `protected` organs
lose no voxel. `scores` says whether a scan's scores are there, and with `recompute` makes them
again; it gives way to a `segment` that comes.

Answers. Each request gets exactly one last answer; `segment` gets progress before it::

    {"id": 1, "event": "progress", "stage": "organs", "fraction": 0.4, "seconds_left": 3.1}
    {"id": 1, "event": "result", "files": {"labels": "/tmp/x/labels.nii", ...}, "rows": [
        {"organ": "liver", "measure": "volume", "value": 1510.2, "unit": "mL", "code": {...},
         "note": ""}, ...], "lesions": [{"number": 1, "organ": "liver", ...}, ...] or null,
        "timings_s": {...}, "notes": [...], "provenance": {...}}
    {"id": 1, "event": "error", "kind": "input", "argument": "...", "came": "...", "legal": "...",
     "action": "...", "message": "..."}          kind: input, nothing_found or internal
    {"id": 1, "event": "cancelled"}              at once, and no file of it appears any more
    {"id": 2, "event": "preloaded", "seconds": 2.7}
    {"id": 6, "event": "corrected", "file": "/tmp/x/after.nrrd", "box": [[0, 0, 0], [9, 9, 9]],
     "added": 120, "removed": 0, "with_scores": true, "seconds": 0.4}     box: null if all is as was
    {"id": 7, "event": "scores", "there": true}  after progress, if they were made again
    {"id": 3, "event": "ok", "cancelled": true}  false: the target has ended or is writing its files
    {"id": 4, "event": "pong", "busy": true, "waiting": 0}
    {"id": 5, "event": "bye"}                    after the rest was cancelled; exit code 0

A line that is no request gets an error with the id it has, or null, and the worker goes on. A
cancelled run gives the processor back within seconds; until then `busy` is true, its input may be
open, and the next request waits. The end of standard input means that the program is gone:
everything is cancelled and the worker ends.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from os.path import realpath
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TextIO

from flare_core import atomic
from flare_core.anatomy.label_schemes import scheme
from flare_core.errors import Cancelled, InputError
from flare_core.jobs import engine as engines
from flare_core.jobs.corrections import (
    Correction,
    LastScores,
    correct,
    correction_of,
    recomputed,
)
from flare_core.jobs.ending import end_at_once
from flare_core.jobs.engine import Engine
from flare_core.jobs.failure import failure_of, json_line
from flare_core.jobs.one_case import Caller, Job, run_case
from flare_core.jobs.outputs import (
    OUR_SCHEME,
    OUTPUTS,
    USUAL,
    check_dicom,
    check_names,
    check_outputs,
    check_scheme,
    output_folder,
    output_paths,
    plain,
)
from flare_core.jobs.progress import Throttle, progress_fields
from flare_core.jobs.remote.access import access_of
from flare_core.jobs.reports import result_fields
from flare_core.jobs.streams import lines_of, protected_stdin, protected_stdout
from flare_core.paths import usable_path
from flare_core.segment.progress import Progress
from flare_core.segment.settings import Settings

Id = str | int | None
Fields = Mapping[str, Any]

FIELDS: dict[str, dict[str, tuple[type, ...]]] = {
    "segment": {
        "input": (str,),
        "output": (str,),
        "settings": (dict,),
        "outputs": (list,),
        "series": (str, type(None)),
        "scheme": (str,),
        "on": (dict,),
    },
    "preload": {"settings": (dict,), "on": (dict,)},
    "correct": {
        "image": (str,),
        "labels": (str,),
        "strokes": (str,),
        "organ": (str,),
        "output": (str,),
        "protected": (list,),
        "scan": (str,),
        "recompute": (bool,),
        "settings": (dict,),
        "on": (dict,),
    },
    "scores": {"scan": (str,), "recompute": (bool,), "settings": (dict,), "on": (dict,)},
    "cancel": {"target": (str, int)},
    "ping": {},
    "shutdown": {},
}
"""Which fields each command has beside `id` and `command`, and their types."""

JSON_NAMES: dict[type, str] = {
    str: "a text", int: "a whole number", bool: "true or false", list: "a list",
    dict: "an object", type(None): "null",
}  # fmt: skip
"""What the types are called by whoever writes the requests."""

REQUIRED = {
    "segment": ("id", "input", "output"),
    "correct": ("id", "image", "labels", "strokes", "organ", "output"),
    "scores": ("id", "scan"),
    "cancel": ("target",),
}
"""Fields that must be there."""

PROTOCOL = 1
"""Raised when an old program could no longer talk to this worker."""

GRACE_S = 5.0
"""How long a run may take to stop once the program is gone; then the worker ends anyway."""


@dataclass(frozen=True)
class How:
    """By what a request is done."""

    settings: Settings
    """Its choices."""
    engine: Engine
    """This computer's, or another one's."""


@dataclass(frozen=True, eq=False)
class Task:
    """A request that waits or runs."""

    id: Id
    """Name the program gave it."""
    work: Callable[[Task], dict[str, Any]]
    """Does it and returns the last answer."""
    gives_way: bool = False
    """Whether a run that comes stops it."""
    stop: threading.Event = field(default_factory=threading.Event)
    """Set when it should end."""


def serve(defaults: Settings, engine: Engine, *, scheme: str = OUR_SCHEME) -> int:
    """Answer requests until the program says so or is gone; return the exit code.

    `defaults` and `scheme` are those of requests that name none.
    """
    with protected_stdout() as stream, protected_stdin() as requests:
        leave = partial(end_at_once, flush=False)
        keeping = engines.KEEPING if engine is engines.REAL else engine
        worker = Worker(keeping, defaults, stream, leave=leave, scheme=scheme)
        return worker.run(lines_of(requests))


class Worker:
    """Reads requests in one thread and works on them, one at a time, in the caller's thread.

    Another one follows strokes, which wait for no run. A last one writes the answers: a program
    that reads none must not make us deaf.
    """

    def __init__(
        self,
        engine: Engine,
        defaults: Settings,
        stream: TextIO,
        *,
        leave: Callable[[], None],
        scheme: str = OUR_SCHEME,
    ) -> None:
        self._engine, self._scheme = engine, scheme
        self._scores = LastScores()
        self._defaults = defaults
        self._stream = stream
        self._leave = leave
        self._answers: SimpleQueue[str | None] = SimpleQueue()
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._strokes: SimpleQueue[Task | None] = SimpleQueue()
        self._lock = threading.RLock()  # guards the next three
        self._open: list[Task] = []  # still without their last answer
        self._running: set[Task] = set()
        self._writing: set[Task] = set()

    def run(self, lines: Iterable[str]) -> int:
        """Work until the end of the lines or a shutdown; return the exit code 0."""
        from flare_core import __version__

        ready = {"protocol": PROTOCOL, "version": __version__, "pid": os.getpid()}
        self._send({"event": "ready", **ready})
        speaking = threading.Thread(target=self._speak, daemon=True)
        speaking.start()
        threading.Thread(target=self._listen, args=(lines,), daemon=True).start()
        strokes = threading.Thread(target=self._work, args=(self._strokes,), daemon=True)
        strokes.start()
        try:
            self._work(self._tasks)
            strokes.join(GRACE_S)
        except BaseException:  # Ctrl-C
            self._leave_later()
            raise
        finally:
            self._answers.put(None)
            speaking.join(GRACE_S)
        return 0

    def _work(self, tasks: SimpleQueue[Task | None]) -> None:
        """Do the tasks of a queue until its end."""
        while (task := tasks.get()) is not None:
            if self._begin(task):
                self._finish(task, self._do(task))

    # --- the thread that listens

    def _listen(self, lines: Iterable[str]) -> None:
        """Take every line; whatever is wrong with one, go on with the next."""
        try:
            for line in lines:
                if line.strip() and not self._take(line):
                    break
        finally:  # nobody could ask for anything any more
            self._end()

    def _take(self, line: str) -> bool:
        """Act upon one line; return whether to go on listening."""
        name: Id = None
        try:
            request = parse(line)
            name = request_id(request)
            check_request(request)
            return self._obey(name, request)
        except Exception as error:  # the process's edge: a deaf worker would be worse
            self._send({"id": name, "event": "error", **_told(error)})
            return True

    def _obey(self, name: Id, request: Fields) -> bool:
        command = request["command"]
        if command == "ping":
            self._send({"id": name, "event": "pong", **self._load()})
        elif command == "cancel":
            self._cancel(name, request["target"])
        elif command == "scores" and not request.get("recompute", False):
            there = self._scores.of(Path(request["scan"])) is not None
            self._send({"id": name, "event": "scores", "there": there})
        elif command == "shutdown":
            self._cancel_all()
            self._send({"id": name, "event": "bye"})
            return False
        else:
            self._enqueue(name, request)
        return True

    def _enqueue(self, name: Id, request: Fields) -> None:
        settings = Settings.from_dict(request.get("settings", {}), self._defaults)
        engine = self._engine
        if "on" in request:
            from flare_core.jobs.remote.client import engine_on  # no NumPy before a scan

            engine = engine_on(access_of(request["on"]), engine, scores=True)
        how = How(settings, engine)
        task, queue = self._task(name, request, how)
        with self._lock:
            if any(other.id == name for other in self._open):
                raise InputError(
                    "id", repr(name), "an id that no open request has", "Choose another id."
                )
            self._open.append(task)
            if request["command"] == "segment":
                self._stop([other for other in self._open if other.gives_way])
        queue.put(task)

    def _task(self, name: Id, request: Fields, how: How) -> tuple[Task, SimpleQueue[Task | None]]:
        """Return what a request asks for, and where it waits."""
        command = request["command"]
        if command == "preload":
            return Task(name, lambda task: self._preload(task, how)), self._tasks
        if command == "scores":
            scan = usable_path(request["scan"], "scan")
            task = Task(name, lambda task: self._recompute(task, scan, how), gives_way=True)
            return task, self._tasks
        if command == "correct":
            asked = correction_of(request)
            task = Task(name, lambda task: self._correct(task, asked, how))
            return task, self._tasks if asked.recompute else self._strokes
        job = job_of({"scheme": self._scheme, **request})
        check_scheme(job.scheme, how.settings.organs)
        return Task(name, lambda task: self._segment(task, job, how)), self._tasks

    def _cancel(self, name: Id, target: Id) -> None:
        """Say whether the target can still be cancelled, and do it."""
        with self._lock:
            found = [t for t in self._open if t.id == target and t not in self._writing]
            self._send({"id": name, "event": "ok", "cancelled": bool(found)})
            self._stop(found)

    def _cancel_all(self) -> None:
        with self._lock:
            self._stop([task for task in self._open if task not in self._writing])

    def _stop(self, tasks: Iterable[Task]) -> None:
        """Have tasks stopped and answer them now, as a run may take seconds to notice."""
        for task in tasks:
            task.stop.set()
            self._answer(task, {"event": "cancelled"})

    def _load(self) -> dict[str, Any]:
        with self._lock:
            waiting = sum(task not in self._running for task in self._open)
            return {"busy": bool(self._running), "waiting": waiting}

    def _end(self) -> None:
        """Stop everything; if a run does not stop in time, end without it."""
        self._leave_later()
        self._cancel_all()
        self._tasks.put(None)
        self._strokes.put(None)

    def _leave_later(self) -> None:
        timer = threading.Timer(GRACE_S, self._leave)
        timer.daemon = True
        timer.start()

    # --- the threads that work

    def _begin(self, task: Task) -> bool:
        """Return whether the task is still wanted, and mark it as running."""
        with self._lock:
            wanted = task in self._open
            if wanted:
                self._running.add(task)
            return wanted

    def _do(self, task: Task) -> dict[str, Any]:
        """Do the task; return its last answer, whatever happened."""
        try:
            return task.work(task)
        except Cancelled:
            return {"event": "cancelled"}
        except (Exception, SystemExit) as error:  # the process's edge: an answer must come
            return {"event": "error", **_told(error)}

    def _finish(self, task: Task, answer: dict[str, Any]) -> None:
        """Make place for the next task; answer this one."""
        with self._lock:
            self._running.discard(task)
            self._writing.discard(task)
            self._answer(task, answer)

    def _answer(self, task: Task, answer: dict[str, Any]) -> None:
        """Send a request's last answer, unless it has had one."""
        with self._lock:
            if task in self._open:
                self._open.remove(task)
                self._send({"id": task.id, **answer})

    def _tell(self, task: Task, progress: Progress) -> None:
        """Send how far a task is; nothing comes after its last answer."""
        with self._lock:
            if task in self._open:
                self._send({"id": task.id, "event": "progress", **progress_fields(progress)})

    def _commit(self, task: Task) -> None:
        """Let a task write its files; from now on it cannot be cancelled."""
        with self._lock:
            engines.stop_if(task.stop.is_set)
            self._writing.add(task)

    def _preload(self, task: Task, how: How) -> dict[str, Any]:
        start = time.perf_counter()
        loading = engines.in_background(lambda: how.engine.preload(how.settings))
        engines.wait_for(loading, task.stop.is_set)
        return {"event": "preloaded", "seconds": round(time.perf_counter() - start, 3)}

    def _segment(self, task: Task, job: Job, how: How) -> dict[str, Any]:
        caller = self._caller(task)
        with output_folder(job.paths.labels.parent):
            atomic.restore([*job.paths.files(OUTPUTS).values()])
            result = run_case(job, how.settings, how.engine, caller)
        self._scores.remember(job.input, result.segmentation.scores)
        return {"event": "result", **result_fields(result)}

    def _recompute(self, task: Task, scan: Path, how: How) -> dict[str, Any]:
        kept = recomputed(scan, how.settings, how.engine, self._scores, self._caller(task))
        return {"event": "scores", "there": kept is not None}

    def _caller(self, task: Task) -> Caller:
        """Return who is told of a task's progress, not too often, and may stop it."""
        throttle = Throttle()

        def on_progress(progress: Progress) -> None:
            if throttle.lets_through(progress):
                self._tell(task, progress)

        return Caller(on_progress, task.stop.is_set, lambda: self._commit(task))

    def _correct(self, task: Task, asked: Correction, how: How) -> dict[str, Any]:
        commit = partial(self._commit, task)
        stop = task.stop.is_set
        with output_folder(asked.output.parent):
            told = correct(asked, how.settings, how.engine, self._scores, stop, commit)
        return {"event": "corrected", **told}

    def _send(self, event: dict[str, Any]) -> None:
        """Have one answer written, after those before it."""
        try:
            line = json_line(event)
        except (TypeError, ValueError):  # a number that JSON does not have, among the results
            line = json_line(plain(event))
        self._answers.put(line)

    # --- the thread that speaks

    def _speak(self) -> None:
        """Write the answers; if nobody reads any more, stop everything."""
        while (line := self._answers.get()) is not None:
            try:
                self._stream.write(line)
                self._stream.flush()
            except (OSError, ValueError):  # the program is gone; the end of its requests follows
                for task in tuple(self._open):
                    task.stop.set()


# --- requests: a line of JSON to a checked command


def parse(line: str) -> Fields:
    """Return the JSON object of a line.

    Raises
    ------
    InputError
        If it is none.
    """
    try:
        request = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _bad_request(f"not JSON ({error})") from error
    if not isinstance(request, dict):
        raise _bad_request(f"JSON of type {type(request).__name__}")
    return request


def request_id(request: Fields) -> Id:
    """Return the request's id, or None if it has none.

    Raises
    ------
    InputError
        If it is neither text nor a whole number.
    """
    name = request.get("id")
    if name is not None and (not isinstance(name, (str, int)) or isinstance(name, bool)):
        raise InputError("id", repr(name), "a text or a whole number", "Choose another id.")
    return name


def check_request(request: Fields) -> None:
    """Check that the command is known and its fields are there and of the right type.

    Raises
    ------
    InputError
        If not.
    """
    command = request.get("command")
    if not isinstance(command, str) or command not in FIELDS:
        raise InputError(
            "command", repr(command), f"one of {', '.join(FIELDS)}", "Correct the request."
        )
    for name in REQUIRED.get(command, ()):
        if request.get(name) is None:
            raise InputError(name, "nothing", f"a value, for {command}", "Add the field.")
    legal = FIELDS[command]
    for name, value in request.items():
        if name in ("id", "command"):
            continue
        if name not in legal:
            names = ", ".join(["id", "command", *legal])
            raise InputError(name, f"{value!r}", f"fields: {names}", "Leave the field out.")
        if not isinstance(value, legal[name]) or (
            isinstance(value, bool) and bool not in legal[name]
        ):
            kinds = " or ".join(JSON_NAMES[kind] for kind in legal[name])
            raise InputError(name, f"{value!r}", kinds, "Correct the field.")


def job_of(request: Fields) -> Job:
    """Return the case a segment request asks for.

    Raises
    ------
    InputError
        If an unknown output is wanted or an input would be written over.
    """
    from flare_core.imaging.inputs import case_name

    outputs = check_outputs(request.get("outputs", USUAL))
    for name in ("input", "output"):
        usable_path(request[name], name)
    scan = Path(request["input"])
    check_dicom(outputs, [scan])
    case = case_name(scan)
    paths = output_paths(request["output"], case)
    check_names(paths.files(outputs).values())
    if any(realpath(path) == realpath(scan) for path in paths.files(outputs).values()):
        raise InputError(
            "output", str(paths.labels), "a file that is not the input", "Choose another output."
        )
    numbers = scheme(request.get("scheme", OUR_SCHEME)).key
    return Job(case, scan, paths, request.get("series"), outputs, numbers)


def _bad_request(came: str) -> InputError:
    action = "Send one JSON object per line, with a command."
    return InputError("request", came, '{"id": 1, "command": "segment", ...}', action)


def _told(error: BaseException) -> dict[str, str]:
    """Return the fields of an error; what broke inside goes to the log with its traceback."""
    failure = failure_of(error)
    if failure.kind == "internal":
        traceback.print_exception(error, file=sys.stderr)
    return failure.fields()
