"""What happens to a reader costs one file, and only that."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from flare_core.errors import InputError
from flare_core.imaging import apart
from flare_core.imaging.files import write_volume
from flare_core.imaging.geometry import Geometry
from flare_core.imaging.volume import Volume

ME = Path(__file__).stem


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the reading process find this file."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    apart._IDLE.clear()  # one with the path of before


def crash(path: str) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def hang(path: str) -> None:
    time.sleep(60)


def refuse(path: str) -> None:
    raise InputError("scan", "a stone", "a CT", "Scan a person.")


def break_inside(path: str) -> None:
    raise KeyError("inside")


def number(path: str) -> int:
    os.write(1, b"a library prints")
    return os.getpid()


def scan() -> Volume:
    values = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
    return Volume(values, Geometry((2, 3, 4), (5.0, 0.75, 0.75), origin_mm=(1.0, 2.0, 3.0)))


def test_a_scan_comes_over_as_it_is_and_can_be_written_to(tmp_path: Path) -> None:
    write_volume(tmp_path / "a.nii.gz", scan())
    found = apart.read_volume(tmp_path / "a.nii.gz")
    assert np.array_equal(found.array, scan().array)
    assert found.array.dtype == np.int16
    assert found.geometry.same_grid(scan().geometry)
    found.array[0] = 7
    assert apart.read_geometry(tmp_path / "a.nii.gz").same_grid(scan().geometry)


def test_a_crash_costs_one_file_and_the_next_is_read_by_another_process() -> None:
    first = apart.call(f"{ME}:number", "x")
    assert first == apart.call(f"{ME}:number", "x") != os.getpid()  # it stays warm
    with pytest.raises(apart.ReaderEnded, match="crashed .SIGSEGV.") as caught:
        apart.call(f"{ME}:crash", "bad.nrrd")
    assert caught.value.parts[0] == "bad.nrrd"
    assert apart.call(f"{ME}:number", "x") != first


def test_a_reader_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "limit_s", lambda path: 0.3)
    start = time.monotonic()
    with pytest.raises(apart.ReaderEnded, match="did not end within"):
        apart.call(f"{ME}:hang", "x")
    assert time.monotonic() - start < 10


def test_errors_come_over_as_they_are() -> None:
    with pytest.raises(InputError, match="a stone") as caught:
        apart.call(f"{ME}:refuse", "x")
    assert not isinstance(caught.value, apart.ReaderEnded)
    with pytest.raises(KeyError, match="inside") as broken:
        apart.call(f"{ME}:break_inside", "x")
    assert "break_inside" in str(broken.value.__cause__)


def test_two_threads_read_at_once_and_one_reader_is_kept() -> None:
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(apart.call(f"{ME}:number", "x")))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert len(apart._IDLE) == 1


@pytest.mark.parametrize("path", ["", "a\0b.nii", "a\udcffb.nii", "a\ud800.nii"])
def test_a_path_that_is_no_text_is_refused_before_any_library_sees_it(path: str) -> None:
    with pytest.raises(InputError, match="another name"):
        apart.read_volume(path)


def test_a_bigger_file_gets_more_time(tmp_path: Path) -> None:
    (tmp_path / "a.mhd").write_bytes(b"x")
    (tmp_path / "a.raw").write_bytes(b"x" * 3_000_000)
    assert apart.limit_s(tmp_path / "a.mhd") == pytest.approx(apart.BASE_LIMIT_S + 3, abs=0.01)
    assert apart.limit_s(tmp_path) == apart.limit_s(tmp_path / "a.mhd")
    assert apart.limit_s(tmp_path / "none" / "x") == apart.BASE_LIMIT_S


def test_the_reader_ends_with_the_process_that_started_it() -> None:
    code = (
        "import os, sys; from flare_core.imaging import apart; "
        f"print(apart.call({ME + ':number'!r}, 'x'), flush=True); os._exit(0)"
    )
    path = os.pathsep.join([str(Path(__file__).parents[3]), str(Path(__file__).parent)])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            os.kill(int(done.stdout), 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("it is still there")
