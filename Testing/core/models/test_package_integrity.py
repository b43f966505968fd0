from __future__ import annotations

import errno
import hashlib
import os
import sys
from pathlib import Path

import pytest

from flare_core import alive
from flare_core.atomic import sha256_of
from flare_core.errors import InputError
from flare_core.models import package
from flare_core.models.card import WeightsFile
from flare_core.models.package import new_folder, sweep_models, verify


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"abc" * 1000)
    return path


def stated(data: bytes) -> WeightsFile:
    return WeightsFile("a.safetensors", hashlib.sha256(data).hexdigest(), len(data))


def test_hash_of_a_known_text(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of(tmp_path / "abc").startswith("ba7816bf8f01cfea")  # FIPS 180-2, appendix B.1


def test_the_right_file_passes_and_is_hashed_once(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[Path] = []
    monkeypatch.setattr(package, "sha256_of", lambda path: hashed.append(path) or sha256_of(path))
    for _ in range(3):
        verify(weights, stated(b"abc" * 1000))
    assert len(hashed) == 1


def test_a_file_that_changes_after_a_good_check_is_caught(weights: Path) -> None:
    expected = stated(b"abc" * 1000)
    verify(weights, expected)
    weights.write_bytes(b"abd" * 1000)
    os.utime(weights, ns=(1, 1))  # same size; some file systems have coarse times
    with pytest.raises(InputError) as caught:
        verify(weights, expected)
    message = str(caught.value)
    assert str(weights) in message and expected.sha256 in message
    assert hashlib.sha256(b"abd" * 1000).hexdigest() in message
    assert "install it again" in message


def test_a_truncated_file_is_named_with_its_size(weights: Path) -> None:
    weights.write_bytes(b"abc")
    with pytest.raises(InputError, match=r"3 bytes\n.*3000 bytes"):
        verify(weights, stated(b"abc" * 1000))


def test_a_missing_file_and_a_card_without_hash(weights: Path) -> None:
    with pytest.raises(InputError, match="states none"):
        verify(weights, WeightsFile("a.safetensors"))
    with pytest.raises(InputError, match="No such file"):
        verify(weights.with_name("b.safetensors"), WeightsFile("b.safetensors"))


def test_new_folder_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "x" / "y"
    with new_folder(target) as part:
        (part / "file").write_text("1")
        assert not target.exists()
    assert [path.name for path in target.parent.iterdir()] == ["y"]
    assert (target / "file").read_text() == "1"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_new_folder_leaves_no_trace_on_failure(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), new_folder(tmp_path / "x" / "y") as part:
        (part / "file").write_text("1")
        raise error
    assert list(tmp_path.iterdir()) == []


def test_new_folder_keeps_parents_that_others_use(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "x" / "y"):
        (tmp_path / "x" / "z").mkdir()
        raise ZeroDivisionError
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["z"]


def test_new_folder_never_overwrites(tmp_path: Path) -> None:
    target = tmp_path / "y"
    target.mkdir()
    with pytest.raises(InputError, match="exists already"), new_folder(target):
        pytest.fail("must not get here")


def test_the_slower_of_two_writers_loses_and_cleans_up(tmp_path: Path) -> None:
    target = tmp_path / "y"
    with pytest.raises(InputError, match="not empty"), new_folder(target) as part:
        (part / "file").write_text("slow")
        target.mkdir()
        (target / "file").write_text("fast")
    assert (target / "file").read_text() == "fast"
    assert [path.name for path in tmp_path.iterdir()] == ["y"]


@pytest.mark.skipif(sys.platform == "win32", reason="folders have no locks there")
def test_what_a_killed_write_left_goes_at_once_and_a_living_ones_stays(tmp_path: Path) -> None:
    left, living, other = (
        tmp_path / name for name in (".01234567.part.y", ".12345678.part.y", ".01234567.part.z")
    )
    for folder in (left, living, other):
        folder.mkdir()
        (folder / "file").write_text("left")
    with alive.held_folder(lambda: living), new_folder(tmp_path / "y"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [other.name, living.name, "y"]


def test_where_folders_have_no_locks_age_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(path: Path, shared: bool = False) -> int:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(alive, "_take", none)
    old, young, other = (
        tmp_path / name for name in (".01234567.part.y", ".12345678.part.y", ".01234567.part.z")
    )
    for folder in (old, young, other):
        folder.mkdir()
        (folder / "file").write_text("left")
    for folder in (old, other):
        os.utime(folder, (1, 1))
    with new_folder(tmp_path / "y"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [other.name, young.name, "y"]


def test_a_folder_is_held_while_it_is_filled_and_under_its_new_name(tmp_path: Path) -> None:
    with new_folder(tmp_path / "y") as part:
        alive.sweep(tmp_path, ".????????.part.*")
        assert part.is_dir()
    assert (tmp_path / "y").is_dir()


def test_whoever_installs_sweeps_what_was_left_among_all_models(tmp_path: Path) -> None:
    models = tmp_path / "models"
    for name in ("a/.01234567.part.1.0.0", "a/2.0.0", "b/.01234567.part.1.0.0", "c/.1.0.0.removed"):
        (models / name).mkdir(parents=True)
        (models / name / "card.json").write_text("{}")
    sweep_models(models)
    assert [path.relative_to(models).as_posix() for path in sorted(models.rglob("*"))] == [
        "a", "a/2.0.0", "a/2.0.0/card.json",
    ]  # fmt: skip
    sweep_models(tmp_path / "nothing there")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such files here")
def test_a_pipe_in_place_of_weights_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="no file"):
        verify(tmp_path / "a.safetensors", WeightsFile("a.safetensors"))
