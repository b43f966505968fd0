"""No process of ours imports anything from the current folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flare_core import processes


def test_the_current_folder_is_not_on_the_safe_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    wanted = ["", str(tmp_path), str(tmp_path / "link"), "/somewhere/else"]
    monkeypatch.setattr(sys, "path", wanted)
    assert processes.safe_path() == [processes.ROOT, "/somewhere/else"]
    processes.forget_current_folder()
    assert sys.path == [processes.ROOT, "/somewhere/else"]


def test_our_own_folder_stays_even_if_it_is_the_current_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(processes.ROOT)
    monkeypatch.setattr(sys, "path", ["/x", processes.ROOT])
    assert processes.safe_path() == ["/x", processes.ROOT]


def test_python_words_run_no_file_of_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "org.py").write_text("print('trap')")
    code = "import sys; print(sys.argv[1:], flush=True); import json; import org"
    words = processes.python_words(code, "a b", "--c")
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "['a b', '--c']\n"
    assert "No module named 'org'" in done.stderr


def test_a_sidecar_is_not_shared_with_a_forked_process() -> None:
    sidecar = processes.Sidecar()
    sidecar.warm()
    assert sidecar.alive
    sidecar._owner = os.getpid() + 1  # as it looks in a child
    assert not sidecar.alive
    sidecar._owner = os.getpid()
    sidecar.close()
    assert not sidecar.alive


@pytest.mark.skipif(sys.platform == "win32", reason="terminals of Unix")
def test_a_sidecar_lives_on_when_the_terminal_is_closed() -> None:
    """Its system tells the whole group of processes; whoever waits for it ends it in the end."""
    sidecar = processes.Sidecar()
    try:
        number = sidecar.call(os.getpid)  # it serves, and so has said what it listens to
        os.kill(number, signal.SIGHUP)
        assert sidecar.call(os.getpid) == number
    finally:
        sidecar.close()
