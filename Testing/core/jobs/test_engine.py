from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from flare_core.errors import Cancelled
from flare_core.jobs.engine import in_background, settle, stop_if, wait_for


def test_a_result_comes_back():
    assert wait_for(in_background(lambda: 6 * 7), lambda: False) == 42


def test_an_error_comes_back_as_it_was():
    def fall_over():
        raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        wait_for(in_background(fall_over), lambda: False)


def test_waiting_stops_soon_after_a_cancellation():
    release = threading.Event()
    future = in_background(lambda: release.wait(30))
    start = time.monotonic()
    with pytest.raises(Cancelled):
        wait_for(future, lambda: time.monotonic() - start > 0.2)
    assert time.monotonic() - start < 10
    release.set()


def test_a_result_that_comes_with_a_cancellation_is_dropped():
    future = in_background(lambda: 1)
    future.result(timeout=5)
    with pytest.raises(Cancelled):
        wait_for(future, lambda: True)


def test_settle_waits_for_what_is_left_but_not_for_ever():
    release = threading.Event()
    in_background(lambda: release.wait(30))
    start = time.monotonic()
    assert not settle(0.2)
    assert 0.15 < time.monotonic() - start < 5
    release.set()
    assert settle(5)
    assert time.monotonic() - start < 5


def test_stop_if():
    stop_if(lambda: False)
    with pytest.raises(Cancelled):
        stop_if(lambda: True)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of addresses as on Linux")
def test_too_little_room_is_told_before_any_library_asks_for_it() -> None:
    """What scipy rests on asks again and again, without end: `ulimit -v 700000` was silent."""
    script = (
        "import resource\nfrom flare_core.jobs.engine import preload\n"
        "from flare_core.segment.settings import Settings\n"
        "import flare_core.imaging.apart, flare_core.segment.runtime\n"
        "flare_core.imaging.apart.warm = lambda: None\n"
        "pages = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (pages + 300 * 2**20,) * 2)\n"
        "try:\n    preload(Settings())\nexcept ValueError as error:\n    print(error.parts[0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (0, "memory\n"), done.stderr
