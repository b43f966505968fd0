from __future__ import annotations

import os
import stat
import time
from dataclasses import replace

import pytest
from FLARESegLib.logic import FLARESegLogic
from FLARESegLib.qt.event_loop import PlainLoop
from FLARESegLib.run import temporary_folder
from FLARESegLib.scene.segment_identity import organ_segment_ids
from process_double import until

from flare_core.segment.settings import Settings

pytest_plugins = ["process_fixtures"]


def test_the_temporary_folder_is_private_and_old_ones_are_swept(tmp_path):
    old = temporary_folder.make_folder(tmp_path)
    (old / "volume.nrrd").write_bytes(b"x")
    long_ago = time.time() - 2 * temporary_folder.STALE_S
    os.utime(old, (long_ago, long_ago))
    new = temporary_folder.make_folder(tmp_path)
    assert not old.exists()
    assert stat.S_IMODE(new.stat().st_mode) == 0o700
    newer = temporary_folder.make_folder(tmp_path)
    assert new.exists()
    assert newer != new


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
