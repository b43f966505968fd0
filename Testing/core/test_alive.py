"""What a living process holds stays, what a killed one held goes: by locks, at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flare_core.alive import (
    alone_in,
    held_file,
    held_folder,
    locked,
    new_folder,
    owned,
    remove_abandoned,
    scratch,
    sweep,
)
from flare_core.errors import InputError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="folders have no locks there")

HOLDS = """
import sys, time
from pathlib import Path
from flare_core.alive import scratch
with scratch(Path(sys.argv[1]), "work-") as folder:
    (folder / "half").write_text("x")
    print(folder.name, flush=True)
    time.sleep(60)
"""


def test_a_folder_goes_when_its_process_is_killed_and_not_before(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        theirs = tmp_path / other.stdout.readline().strip()
        with scratch(tmp_path, "work-") as mine:
            assert theirs.is_dir() and mine.is_dir() and mine != theirs
        assert not mine.exists() and (theirs / "half").is_file()
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert theirs.is_dir()
    with scratch(tmp_path, "work-"):
        assert not theirs.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_swept_before_it_was_locked_is_made_again(tmp_path: Path) -> None:
    made = []

    def make() -> Path:
        folder = tmp_path / str(len(made))
        made.append(folder)
        if len(made) > 1:  # the first is gone when it is to be locked
            folder.mkdir()
        return folder

    with held_folder(make) as folder:
        assert folder == made[1] and folder.is_dir()


def test_links_and_files_are_not_followed_or_taken_at_once(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("x")
    (tmp_path / "work-link").symlink_to(tmp_path / "kept")
    (tmp_path / "work-file").write_text("x")
    sweep(tmp_path, "work-*")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["kept", "work-file", "work-link"]
    assert (tmp_path / "kept" / "file").is_file()


def test_one_process_after_the_other(tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    def enough() -> None:
        raise Enough

    with alone_in(tmp_path) as known:
        assert known
        with pytest.raises(Enough), alone_in(tmp_path, waiting=enough):
            pytest.fail("must not get here")
    with alone_in(tmp_path, waiting=enough) as known:
        assert known


def test_readers_share_a_lock_and_whoever_is_alone_does_not(tmp_path: Path) -> None:
    looks: list[int] = []

    def twice() -> bool:
        looks.append(1)
        return len(looks) < 3

    with locked(tmp_path, shared=True) as one, locked(tmp_path, shared=True) as two:
        assert (one, two) == (True, True)
        with locked(tmp_path, waiting=twice) as alone:
            assert alone is False
    assert len(looks) == 3
    with locked(tmp_path / "missing") as alone:
        assert alone is None


def test_a_held_file_stays_and_goes_with_its_writer(tmp_path: Path) -> None:
    path = tmp_path / "half"
    with held_file(path) as stream:
        stream.write(b"x")
        path.chmod(0o444)
        assert not remove_abandoned(path, files_s=None) and path.exists()
    assert not remove_abandoned(path), "an hour old at most: it may be anybody's"
    assert remove_abandoned(path, files_s=None) and not path.exists()


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert remove_abandoned(tmp_path / "pipe", files_s=None)


def test_a_new_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "name"
    with pytest.raises(RuntimeError), new_folder(target) as part:
        (part / "half").write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == [], "nor a parent that was made for it"
    target.mkdir(parents=True)  # an empty one may be filled
    (target.parent / ".0123abcd.part.name").mkdir()  # left by a killed writer
    with new_folder(target) as part:
        sweep(target.parent, ".*")  # it is held
        (part / "whole").write_text("x")
    assert [path.name for path in target.parent.iterdir()] == ["name"]
    for other, came in ((target, "not empty"), (target / "whole", "a file that exists")):
        with pytest.raises(InputError, match=came) as caught, new_folder(other):
            pytest.fail("must not get here")
        assert ".part." not in str(caught.value)
    assert os.listdir(target) == ["whole"]


def test_whoever_owns_a_folder_sweeps_it_and_the_second_leaves_the_firsts_alone(
    tmp_path: Path,
) -> None:
    left = tmp_path / ".0123abcd.part.a"
    left.write_text("half")
    with owned(tmp_path):
        assert not left.exists()
        left.write_text("half")  # the first one's
        with owned(tmp_path):
            assert left.exists()
