from __future__ import annotations

import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from FLARESegLib.logic import FLARESegLogic
from FLARESegLib.qt.event_loop import PlainLoop
from FLARESegLib.run import temporary_folder
from FLARESegLib.scene.segment_identity import organ_segment_ids
from process_double import until

from flare_core.segment.settings import Settings

pytest_plugins = ["process_fixtures"]


def test_the_temporary_folder_is_private_and_stays_while_its_maker_lives(tmp_path):
    new = temporary_folder.make_folder(tmp_path)
    assert stat.S_IMODE(new.stat().st_mode) == 0o700
    newer = temporary_folder.make_folder(tmp_path)
    temporary_folder.sweep(tmp_path)
    assert new.exists() and newer.exists() and newer != new


KILLED = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from FLARESegLib.run import temporary_folder
folder = temporary_folder.make_folder(Path({parent!r}))
(folder / "volume.nrrd").write_bytes(b"a patient")
print(folder, flush=True)
sys.stdin.read()
"""


def test_what_a_killed_slicer_left_goes_at_the_next_start(tmp_path):
    code = KILLED.format(path=sys.path, parent=str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    folder = Path(process.stdout.readline().strip())
    temporary_folder.sweep(tmp_path)
    assert (folder / "volume.nrrd").exists()  # it lives
    process.kill()
    process.wait()
    temporary_folder.sweep(tmp_path)
    assert not folder.exists()


def test_the_start_of_slicer_does_not_wait_for_the_sweep(tmp_path, monkeypatch):
    left = tmp_path / f"{temporary_folder.PREFIX}old"
    left.mkdir()
    monkeypatch.setattr(temporary_folder, "parent_folder", lambda: tmp_path)
    temporary_folder.sweep_in_background()
    until(PlainLoop(), lambda: not left.exists())


def test_windows_keeps_the_folder_whose_file_is_open(tmp_path, monkeypatch):
    """There an open file cannot be removed, which tells a living maker from a killed one."""
    monkeypatch.setattr(temporary_folder.sys, "platform", "win32")
    folder = temporary_folder.make_folder(tmp_path)
    held = temporary_folder._held.pop(folder)  # as if another process had made it
    unlink = Path.unlink

    def refuse(path, *args, **options):
        raise PermissionError(13, "in use", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    temporary_folder.sweep(tmp_path)
    assert folder.exists()
    monkeypatch.setattr(Path, "unlink", unlink)
    held.close()
    temporary_folder.sweep(tmp_path)
    assert not folder.exists()


def test_a_folder_in_use_is_removed_later(tmp_path, monkeypatch):
    loop = PlainLoop()
    folder = temporary_folder.make_folder(tmp_path)
    tries = []
    remove = temporary_folder.shutil.rmtree

    def busy(path, **options):
        tries.append(path)
        if len(tries) > 1:
            remove(path, **options)

    monkeypatch.setattr(temporary_folder.shutil, "rmtree", busy)
    temporary_folder.remove_folder(folder, loop)
    assert folder.exists()
    until(loop, lambda: not folder.exists())
    assert len(tries) == 2


@pytest.mark.parametrize(
    "parent", ["with spaces", "日本語 ü", "long/" + "x" * 100 + "/" + "y" * 120]
)
def test_paths_of_every_kind(warm_place, tmp_path, ct, stub_model, parent):
    folder = tmp_path / parent
    folder.mkdir(parents=True)
    place = replace(warm_place, temporary=folder)
    node = FLARESegLogic(workplace=place).segment(
        ct, settings=Settings(model=stub_model), onProgress=lambda progress: None
    )
    assert set(organ_segment_ids(node)) == {"liver", "spleen"}
    assert list(folder.iterdir()) == []
