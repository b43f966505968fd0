"""Where models are found, and zips that lie."""

from __future__ import annotations

import errno
import os
import stat
import zipfile
from pathlib import Path

import pytest

from flare_core.alive import held_folder
from flare_core.errors import InputError
from flare_core.home import Home
from flare_core.models.nnunet import folder as nnunet_folder
from flare_core.models.nnunet.folder import checkpoints, model_folder, opened, unpack


def make_model(folder: Path, *folds: str, plans: str = "plans.json") -> Path:
    folder.mkdir(parents=True)
    (folder / plans).write_text("{}", encoding="utf-8")
    name = "checkpoint_final.pth" if plans.endswith("json") else "model_final_checkpoint.model"
    for fold in folds:
        (folder / fold).mkdir()
        (folder / fold / name).write_bytes(b"weights")
    return folder


def zip_of(path: Path, **entries: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def test_a_model_is_found_in_the_folders_around_it(tmp_path: Path) -> None:
    model = make_model(tmp_path / "Dataset1" / "Trainer__Plans__3d_fullres", "fold_0")
    for place in (model, model.parent, tmp_path):
        assert model_folder(place) == model


def test_none_or_several_models_are_an_error_that_names_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"plans.json or plans.pkl"):
        model_folder(tmp_path)
    make_model(tmp_path / "d" / "one")
    make_model(tmp_path / "d" / "two", plans="plans.pkl")
    with pytest.raises(InputError, match="d/one, d/two"):
        model_folder(tmp_path)


def test_folds_that_are_there_or_asked_for(tmp_path: Path) -> None:
    model = make_model(tmp_path / "m", "fold_0", "fold_3", "fold_all")
    (model / "fold_1").mkdir()  # not yet trained
    assert list(checkpoints(model).paths) == ["0", "3"]  # as nnU-Net: without the one of all cases
    assert list(checkpoints(model, [0, 3, "all"]).paths) == ["0", "3", "all"]
    assert list(checkpoints(model, ["all", 0]).paths) == ["all", "0"]
    with pytest.raises(InputError, match="no fold 1") as error:
        checkpoints(model, [0, 1])
    assert "0, 3, all" in error.value.parts[2]


def test_the_best_checkpoint_where_there_is_no_final_one(tmp_path: Path) -> None:
    model = make_model(tmp_path / "m")
    (model / "fold_0").mkdir()
    with pytest.raises(InputError, match="no fold with weights"):
        checkpoints(model)
    (model / "fold_0" / "checkpoint_best.pth").write_bytes(b"")
    found = checkpoints(model)
    assert found.paths["0"].name == "checkpoint_best.pth" and "not finished" in found.notes[0]


def test_folders_of_version_1(tmp_path: Path) -> None:
    model = make_model(tmp_path / "m", "fold_0", "all", plans="plans.pkl")
    found = checkpoints(model, ["all", 0]).paths
    assert list(found) == ["all", "0"] and found["0"].name == "model_final_checkpoint.model"
    unasked = checkpoints(model)
    assert list(unasked.paths) == ["0"] and "Fold all is left out" in unasked.notes[0]


def test_unfinished_and_foreign_folds_are_left_out_and_said(tmp_path: Path) -> None:
    model = make_model(tmp_path / "m", "fold_0", "fold_10", "fold_all", "fold_2_old")
    for name in ("fold_1", "fold_2"):
        (model / name).mkdir()
    (model / "fold_1" / "checkpoint_latest.pth").write_bytes(b"")
    found = checkpoints(model)
    assert list(found.paths) == ["0", "10"]
    assert "\n".join(sorted(found.notes)) == (
        "Fold 1 is left out: its training is not finished (no checkpoint_final.pth).\n"
        "Fold 2 is left out: there are no weights in it.\n"
        "Fold 2_old is left out, as nnU-Net does beside numbered folds; --folds names others.\n"
        "Fold all is left out, as nnU-Net does beside numbered folds; --folds names others."
    )
    asked = checkpoints(model, [0, 1])
    assert [path.name for path in asked.paths.values()] == [
        "checkpoint_final.pth", "checkpoint_latest.pth",
    ]  # fmt: skip
    assert asked.notes == (
        "Fold 1 comes from a training that is not finished: checkpoint_latest.pth.",
    )


def test_the_fold_of_all_cases_counts_where_it_is_alone(tmp_path: Path) -> None:
    assert list(checkpoints(make_model(tmp_path / "m", "fold_all")).paths) == ["all"]


def test_latest_checkpoints_count_only_if_named(tmp_path: Path) -> None:
    model = make_model(tmp_path / "m")
    (model / "fold_0").mkdir()
    (model / "fold_0" / "checkpoint_latest.pth").write_bytes(b"")
    with pytest.raises(InputError, match="of a finished training") as error:
        checkpoints(model)
    assert "checkpoint_latest.pth" in error.value.parts[1] and "--folds" in error.value.parts[3]
    assert list(checkpoints(model, ["0"]).paths) == ["0"]


def test_a_zip_is_unpacked_for_the_block_and_gone_behind_it(tmp_path: Path) -> None:
    source = zip_of(tmp_path / "m.zip", **{"a/plans.json": b"{}", "a/log.txt": b"x"})
    home = Home(tmp_path / "home")
    with opened(source, home) as folder:
        assert (folder / "a" / "plans.json").is_file() and not (folder / "a" / "log.txt").exists()
    assert not folder.exists() and not list(home.cache.iterdir())


@pytest.mark.parametrize("name", ["../plans.json", "/plans.json", "a/../../plans.json", "c:x.json",
                                  "a\\..\\plans.json"])  # fmt: skip
def test_paths_that_lead_outside_are_refused(tmp_path: Path, name: str) -> None:
    source = zip_of(tmp_path / "m.zip", **{"a/plans.json": b"{}", name: b"evil"})
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="leads outside"):
        unpack(source, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["m.zip", "out"]


def test_links_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "m.zip"
    entry = zipfile.ZipInfo("plans.json")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(source, "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(InputError, match="link"):
        unpack(source, tmp_path)


def test_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = zip_of(tmp_path / "m.zip", **{"plans.json": bytes(2**23)})
    with pytest.raises(InputError, match="would unpack to 8388608"):
        unpack(source, tmp_path)
    monkeypatch.setattr(nnunet_folder, "MAX_BYTES", 2**20)
    with pytest.raises(InputError, match="GiB together"):
        unpack(source, tmp_path)
    monkeypatch.setattr(nnunet_folder, "MAX_ENTRIES", 0)
    with pytest.raises(InputError, match="1 files"):
        unpack(source, tmp_path)


def test_a_damaged_zip_or_nothing_is_refused(tmp_path: Path) -> None:
    source = zip_of(tmp_path / "m.zip", **{"plans.json": b"{}" * 999})
    source.write_bytes(source.read_bytes()[:-30])
    with pytest.raises(InputError, match="not readable"):
        unpack(source, tmp_path / "out")
    with (
        pytest.raises(InputError, match="nothing of that name"),
        opened(tmp_path / "none", Home(tmp_path)),
    ):
        pass


def test_a_full_disk_is_said_and_nothing_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    source = zip_of(tmp_path / "m.zip", **{"plans.json": b"{}"})
    monkeypatch.setattr(nnunet_folder.shutil, "copyfileobj", full)
    home = Home(tmp_path / "home")
    with pytest.raises(InputError, match="free space") as error, opened(source, home):
        pass
    assert "No space left" in error.value.parts[1] and not list(home.cache.iterdir())


def test_what_a_killed_import_unpacked_goes_with_the_next(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    old, living = home.cache / "nnunet-old", home.cache / "nnunet-living"
    for folder in (old, living):
        folder.mkdir(parents=True)
        (folder / "checkpoint_final.pth").write_bytes(b"half")
    os.utime(old, (0, 0))
    source = zip_of(tmp_path / "m.zip", **{"plans.json": b"{}"})
    with held_folder(lambda: living), opened(source, home):
        assert living.exists() and not old.exists()
