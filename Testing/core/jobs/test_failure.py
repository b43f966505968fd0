from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
from pathlib import Path

import pytest

from flare_core.errors import Cancelled, InputError, NothingFound
from flare_core.jobs import failure
from flare_core.jobs.failure import failure_of, json_line, log_traceback
from house.imports import DECLARED


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (InputError("a", "b", "c", "d"), "input", 2),
        (NothingFound("no abdominal organ found"), "nothing_found", 2),
        (Cancelled(), "cancelled", 130),
        (KeyboardInterrupt(), "cancelled", 130),
        (ValueError("x"), "internal", 1),
        (MemoryError(), "internal", 1),
    ],
)
def test_failures(error, kind, code):
    found = failure.failure_of(error)
    assert (found.kind, found.exit_code) == (kind, code)
    assert found.message


def test_out_of_memory_says_what_helps():
    class OutOfMemoryError(RuntimeError):
        """Named as torch names it."""

    assert "--fast" in failure.failure_of(OutOfMemoryError("CUDA out of memory")).action


@pytest.mark.parametrize(("module", "package"), [("torch", "torch"), ("PIL", "pillow")])
def test_a_package_that_is_not_there_is_named_with_its_command(monkeypatch, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModuleNotFoundError) as caught:
        importlib.import_module(module)
    found = failure.failure_of(caught.value)
    assert (found.kind, found.exit_code, found.argument) == ("input", 2, package)
    assert found.action.startswith(f"Run: {sys.executable} -m pip install {package}")
    assert ("whl/cpu" in found.action) == (module == "torch")


@pytest.mark.parametrize("name", ["torch._C._gone", "left_out"])
def test_a_broken_package_and_a_module_of_nobody_are_internal(name):
    assert failure.failure_of(ModuleNotFoundError("no", name=name)).kind == "internal"


def test_the_packages_are_those_that_are_declared():
    assert set(failure.PACKAGES) <= DECLARED
    assert DECLARED - set(failure.PACKAGES) == {
        *("pydicom", "highdicom", "dask", "distributed", "dask_jobqueue")  # they have own words
    }


def test_the_end_of_another_process_of_a_training_is_no_riddle():
    """What gloo says, word for word, when a process of torchrun's was killed."""
    said = (
        "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:537] Read error [127.0.0.1]:15280: "
        "Connection reset by peer. This is typically caused by a remote worker hanging or bugs in "
        "the application. Check the logs of the remote worker before reporting an error. GLHF!"
    )
    told = failure_of(RuntimeError(said))
    assert told.came.startswith("Another process") and "the same command goes on" in told.message
    assert failure_of(RuntimeError("transport of gloo")).came.startswith("RuntimeError")


def test_the_four_parts_arrive_as_fields():
    fields = failure.failure_of(InputError("a", "b", "c", "d")).fields()
    assert [fields[name] for name in ("argument", "came", "legal", "action")] == list("abcd")


def test_a_traceback_is_kept_in_a_file():
    try:
        raise KeyError("Ü")
    except KeyError as error:
        log = Path(log_traceback(error))
    text = log.read_text(encoding="utf-8")
    log.unlink()
    assert "Traceback" in text
    assert "test_failure.py" in text
    assert "KeyError: 'Ü'" in text


def test_json_lines_are_ascii_and_one_line():
    event = {"text": "腹\n部", "path": "a\udcff"}
    line = json_line(event)
    assert line.isascii()
    assert line.count("\n") == 1
    assert json.loads(line) == event
    with pytest.raises(ValueError, match="JSON"):
        json_line({"value": float("nan")})


def test_a_stop_says_what_it_has_to_say() -> None:
    own = "what has come is kept"
    assert failure.failure_of(Cancelled(own)).message == f"Stopped: {own}"
    assert "nothing half-written" in failure.failure_of(KeyboardInterrupt()).message


@pytest.mark.parametrize(
    "error",
    [
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        ImportError("libx.so: cannot open shared object file: Cannot allocate memory"),
        OSError(12, "Cannot allocate memory"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("can't start new thread"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."),
    ],
)
def test_too_little_memory_is_said_wherever_it_shows(error):
    found = failure_of(error)
    assert "the memory is not enough" in found.message
    assert found.exit_code == 1
    caused = ImportError("torch cannot be imported")
    caused.__cause__ = error
    assert failure_of(caused).came.startswith("the memory is not enough")


def test_other_errors_of_an_import_are_no_want_of_memory():
    assert "memory" not in failure_of(ImportError("No module named 'torch'")).message
    assert "memory" not in failure_of(OSError(28, "No space left on device")).message


def test_an_error_that_cannot_say_what_it_is_still_has_words():
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError

    assert "Mute" in failure_of(Mute()).message


def test_logs_do_not_pile_up_and_a_full_disk_costs_only_the_log(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "flare_of_somebody.txt").write_text("")
    for number in range(failure.MOST_LOGS + 3):
        path = log_traceback(ValueError(number))
        os.utime(path, (number, number))
    assert len(list(tmp_path.glob("*.log"))) == failure.MOST_LOGS
    assert Path(path).exists()
    assert (tmp_path / "flare_of_somebody.txt").exists()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    assert log_traceback(ValueError()) == ""
