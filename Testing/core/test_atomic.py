"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import time
from pathlib import Path

import pytest

from flare_core import alive, atomic
from flare_core.errors import InputError


def test_what_is_written_is_there_and_nothing_else(tmp_path: Path) -> None:
    atomic.write_text(tmp_path / "note.txt", "Grüße\n")
    atomic.write_json(tmp_path / "facts.json", {"volume_ml": 1.5})
    assert (tmp_path / "note.txt").read_bytes() == "Grüße\n".encode()
    assert json.loads((tmp_path / "facts.json").read_text("utf-8")) == {"volume_ml": 1.5}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["facts.json", "note.txt"]


def test_a_failure_leaves_the_old_file_and_no_part(tmp_path: Path) -> None:
    path = tmp_path / "labels.nii.gz"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="half way"), atomic.atomic_path(path) as part:
        part.write_bytes(b"ne")
        raise RuntimeError("half way")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_part_keeps_the_suffixes_that_writers_choose_by(tmp_path: Path) -> None:
    with atomic.atomic_path(tmp_path / "scan.nii.gz") as part:
        assert part.parent == tmp_path
        assert part.name.endswith(".nii.gz")
        part.write_bytes(b"x")
    assert (tmp_path / "scan.nii.gz").read_bytes() == b"x"


def test_a_full_disk_is_an_input_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left"):
        atomic.write_bytes(tmp_path / "a", b"data")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing was left behind"):
        atomic.write_bytes(tmp_path / "missing" / "a", b"data")


def write_new(targets: list[Path]) -> None:
    with atomic.written_together(targets) as parts:
        for part in parts:
            part.write_text("new")


def killed_after(moves: int, targets: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave what a process leaves that is killed after so many renames."""
    rename, done = os.replace, []

    class Killed(BaseException):
        """Nothing of ours may run after it."""

    def replace(source: Path, target: Path) -> None:
        if len(done) == moves:
            raise Killed
        done.append(target)
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        patch.setattr(atomic, "_put_back", lambda *_: None)
        patch.setattr(atomic, "_remove", lambda *_: None)
        with pytest.raises(Killed):
            write_new(targets)


@pytest.mark.parametrize("moves", range(5))
def test_a_kill_inside_the_swap_is_undone_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    """`c` is new: it must not stay beside the old ones that come back."""
    targets = [tmp_path / name for name in "cab"]
    for target in targets[1:]:
        target.write_text("old")
    killed_after(moves, targets, monkeypatch)
    assert len(os.listdir(tmp_path)) > 3
    atomic.restore(targets)
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"a": "old", "b": "old"}
    write_new(targets)
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == dict.fromkeys("abc", "new")


def test_a_kill_after_the_swap_leaves_the_new_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = [tmp_path / name for name in "ab"]
    for target in targets:
        target.write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr(atomic, "_remove", lambda *_: None)
        write_new(targets)
    assert len(os.listdir(tmp_path)) == 4
    atomic.restore_all([targets])
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"a": "new", "b": "new"}


def test_only_our_own_remains_are_swept(tmp_path: Path) -> None:
    ours = (".0123abcd.part.a", ".0123abcd.part..456789ab.part.a", ".0123abcd.part")
    others = (".0123abcd.part.x", ".abc.part.a", "a.part", ".0123abcd.partial")
    for name in (*ours, *others):
        (tmp_path / name).write_text("")
    atomic.restore([tmp_path / "a"])
    assert set(os.listdir(tmp_path)) == set(others)


def test_nothing_is_swept_while_somebody_writes_there(tmp_path: Path) -> None:
    with atomic.written_together([tmp_path / "a"]) as (part,):
        part.write_text("half")
        atomic.restore([tmp_path / "a"])
        assert part.exists()


def test_where_folders_cannot_be_locked_only_old_remains_are_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(path: Path, shared: bool = False) -> int:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(alive, "_take", none)
    for name, age in ((".0123abcd.part.a", 0), (".456789ab.part.a", 2 * atomic.STALE_S)):
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    atomic.restore([tmp_path / "a"])
    assert os.listdir(tmp_path) == [".0123abcd.part.a"]


def test_a_lock_that_the_system_does_not_give_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(alive.fcntl, "flock", none_left)
    write_new([tmp_path / "a"])
    assert (tmp_path / "a").read_text() == "new"


def test_a_hidden_name_is_never_longer_than_what_the_file_system_takes(tmp_path: Path) -> None:
    target = tmp_path / ("ü" * 120 + ".nii.gz")
    hidden = atomic.hidden(target, "0123abcd", "part")
    assert len(os.fsencode(hidden.name)) <= len(os.fsencode(target.name))
    assert hidden.name.endswith(".nii.gz")
    write_new([target])
    atomic.write_text(target, "x")
    assert os.listdir(tmp_path) == [target.name]


def test_an_error_names_the_file_and_not_the_hidden_one(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught, atomic.atomic_path(tmp_path / "a") as part:
        atomic.write_bytes(part / "inner", b"")  # a writer that writes whole or not at all itself
    assert str(tmp_path / "a") in caught.value.parts[0]
    assert ".part" not in str(caught.value)
    with pytest.raises(InputError) as caught, atomic.written_together([tmp_path / "a"]) as (part,):
        raise InputError(str(part), f"{part.name} is full", "room", "Make room.")
    assert caught.value.parts[:2] == (str(tmp_path / "a"), "a is full")


@pytest.mark.parametrize("error", [OSError(), OSError(errno.EROFS, ""), OSError("odd")])
def test_what_the_system_says_is_never_nothing(tmp_path: Path, error: OSError) -> None:
    with pytest.raises(InputError) as caught, atomic.atomic_path(tmp_path / "a"):
        raise error
    assert caught.value.parts[1].removeprefix("writing failed:").strip()


@pytest.mark.parametrize("moves", range(5))
def test_a_run_of_other_files_tidies_up_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    """The next run is of another scan: it has the folder's lock, so nobody else writes there."""
    targets = [tmp_path / name for name in ("c.csv", "a.json", "b.nii.gz")]
    for target in targets[1:]:
        target.write_text("old")
    killed_after(moves, targets, monkeypatch)
    assert len(os.listdir(tmp_path)) > 3
    (tmp_path / ".0123abcd.part.alone").write_text("somebody else's, who takes no lock")
    write_new([tmp_path / "x.json", tmp_path / "x.nii.gz"])
    assert {p.name: p.read_text() for p in tmp_path.iterdir() if p.name[0] != "."} == {
        "a.json": "old", "b.nii.gz": "old", "x.json": "new", "x.nii.gz": "new",
    }  # fmt: skip
    assert [p.name for p in tmp_path.glob(".*")] == [".0123abcd.part.alone"]


def test_a_swap_of_others_that_had_ended_stays_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr(atomic, "_remove", lambda *_: None)
        write_new([tmp_path / "a", tmp_path / "b"])
    assert len(os.listdir(tmp_path)) == 4
    write_new([tmp_path / "x"])
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == dict.fromkeys("abx", "new")


def test_names_that_were_cut_are_left_to_their_own_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = [tmp_path / f"{'n' * 200}.{end}" for end in ("json", "nii.gz")]
    for target in long:
        target.write_text("old")
    killed_after(2, long, monkeypatch)
    write_new([tmp_path / "x"])
    write_new([tmp_path / "y"])
    atomic.restore(long)
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {
        long[0].name: "old", long[1].name: "old", "x": "new", "y": "new",
    }  # fmt: skip
