"""A folder of nnU-Net's in, a package that runs out; on an error nothing is left."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from flare_core.errors import InputError
from flare_core.home import Home
from flare_core.models.card import TrainingSource
from flare_core.models.nnunet.convert import About, import_nnunet, model_name
from flare_core.models.package import load_package, read_weights
from flare_core.networks import build_network
from nnunet_folders import NETWORK, dataset, new_architecture, plans, their_weights, write_v2


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def nothing_installed(home: Home) -> bool:
    return not home.models.exists() and not (home.cache.exists() and any(home.cache.iterdir()))


def test_a_folder_becomes_an_installed_package(tmp_path: Path, home: Home) -> None:
    package = import_nnunet(write_v2(tmp_path), home=home)
    assert load_package("dataset001_tiny-3d_fullres", home=home).card == package.card
    (stage,) = package.card.stages
    assert stage.labels == ("background", "liver", "right_kidney")
    assert (stage.tile_step, stage.interpolation, stage.orientation) == (0.5, "cubic", "SPL")
    assert stage.nnunet is not None and stage.mirror_axes == (0, 1, 2)
    network = build_network(stage.network)
    network.load_state_dict(read_weights(package.weights_path(stage)))
    told = package.card.provenance
    assert told["nnunet"]["trainer"] == "nnUNetTrainer" and told["nnunet"]["folds"] == ["0"]
    assert told["values"] == {"background": 0, "liver": 1, "kidney_right": 2}


def test_what_the_folder_does_not_say(tmp_path: Path, home: Home) -> None:
    about = About(
        version="2.1.0", licence="CC-BY-4.0", stage="localiser", orientation="SAR", exact=False,
        source="https://example.org/m.zip",
        training_data=(TrainingSource("D", 10, "CC-BY-4.0", "Somebody 2023"),),
    )  # fmt: skip
    package = import_nnunet(write_v2(tmp_path), home=home, name="mine", about=about)
    assert package.folder == home.model("mine", "2.1.0")
    (stage,) = package.card.stages
    assert (stage.name, stage.orientation, stage.nnunet) == ("localiser", "SAR", None)
    assert (stage.interpolation, stage.tile_step) == ("linear", 0.75)
    assert package.card.licence == "CC-BY-4.0" and package.card.training_data[0].cases == 10


def test_folds_become_files_of_one_stage(tmp_path: Path, home: Home) -> None:
    model = write_v2(tmp_path, folds=("0", "1", "all"))
    package = import_nnunet(model, home=home, folds=[0, 1, "all"])
    paths = package.weights_paths("organs")
    assert [p.name for p in paths] == [
        "organs.safetensors", "organs-1.safetensors", "organs-all.safetensors",
    ]  # fmt: skip
    for seed, path in enumerate(paths):
        kept = read_weights(path)["decoder.seg_layers.0.weight"]
        assert torch.equal(kept, their_weights(seed)["decoder.seg_layers.0.weight"])
    one = import_nnunet(model, home=home, name="one", folds=["all"])
    assert len(one.card.stages[0].weights_files) == 1


def test_a_zip_is_the_same(tmp_path: Path, home: Home) -> None:
    model = write_v2(tmp_path / "in" / "Dataset001_Tiny")
    packed = shutil.make_archive(str(tmp_path / "model"), "zip", tmp_path / "in")
    package = import_nnunet(packed, home=home)
    again = import_nnunet(model, home=home, name="again")
    assert package.card.stages == again.card.stages
    assert not any(home.cache.iterdir())


def test_a_version_that_is_installed_stays(tmp_path: Path, home: Home) -> None:
    model = write_v2(tmp_path)
    first = import_nnunet(model, home=home)
    with pytest.raises(InputError, match="exists already"):
        import_nnunet(model, home=home)
    newer = import_nnunet(model, home=home, about=About(version="1.1.0"))
    assert first.folder.is_dir() and newer.folder.is_dir()


def test_the_first_tensor_that_does_not_fit_is_named(tmp_path: Path, home: Home) -> None:
    wider = replace(NETWORK, features_per_stage=(4, 8))
    with pytest.raises(InputError) as error:
        import_nnunet(write_v2(tmp_path, spec=wider), home=home)
    came, legal = error.value.parts[1:3]
    assert came == "tensor encoder.stages.1.0.convs.0.conv.weight of shape (8, 4, 3, 3, 3)"
    assert legal.endswith("(6, 4, 3, 3, 3)") and nothing_installed(home)


def test_labels_and_heads_must_agree(tmp_path: Path, home: Home) -> None:
    more = dataset(labels={"background": 0, "liver": 1, "spleen": 2, "aorta": 3})
    with pytest.raises(InputError, match="seg_layers"):
        import_nnunet(write_v2(tmp_path, described=more), home=home)
    assert nothing_installed(home)


def test_one_bad_fold_of_two_installs_nothing(tmp_path: Path, home: Home) -> None:
    model = write_v2(tmp_path, folds=("0", "1"))
    (model / "fold_1" / "checkpoint_final.pth").write_bytes(b"half a file")
    with pytest.raises(InputError, match="fold_1"):
        import_nnunet(model, home=home)
    assert nothing_installed(home)


def test_a_missing_fold_installs_nothing(tmp_path: Path, home: Home) -> None:
    with pytest.raises(InputError, match="no fold 4"):
        import_nnunet(write_v2(tmp_path), home=home, folds=[0, 4])
    assert nothing_installed(home)


def test_an_unknown_architecture_installs_nothing(tmp_path: Path, home: Home) -> None:
    described = new_architecture()
    described["architecture"]["network_class_name"] = "some.Transformer"
    model = write_v2(tmp_path, content=plans(described))
    with pytest.raises(InputError, match="PlainConvUNet, ResidualEncoderUNet"):
        import_nnunet(model, home=home)
    assert nothing_installed(home)


def test_labels_without_an_organ_install_nothing(tmp_path: Path, home: Home) -> None:
    strange = dataset(labels={"background": 0, "a": 1, "b": 2})
    model = write_v2(tmp_path, described=strange)
    with pytest.raises(InputError, match="label map"):
        import_nnunet(model, home=home)
    assert nothing_installed(home)
    package = import_nnunet(model, home=home, label_map={"a": "liver"})
    assert package.card.stages[0].labels == ("background", "liver", "other:b")


@pytest.mark.parametrize("damage", [b"", b"[1]", b"{", b"\xff\xfe"])
def test_damaged_plans_are_refused(tmp_path: Path, home: Home, damage: bytes) -> None:
    model = write_v2(tmp_path)
    (model / "plans.json").write_bytes(damage)
    with pytest.raises(InputError, match=r"plans.json"):
        import_nnunet(model, home=home)


def test_plans_with_nan_are_read_as_nnunet_writes_them(tmp_path: Path, home: Home) -> None:
    model = write_v2(tmp_path, content={**plans(), "x": float("nan")})
    assert "NaN" in (model / "plans.json").read_text(encoding="utf-8")
    assert json.loads((model / "dataset.json").read_text(encoding="utf-8"))
    assert import_nnunet(model, home=home).card.name == "dataset001_tiny-3d_fullres"


def test_names_are_made_legal() -> None:
    assert model_name("Dataset 5 (Ünder) Ärzte!") == "dataset-5-nder-rzte"
    assert model_name("---") == "nnunet" and len(model_name("x" * 99)) == 64


def test_what_was_left_out_is_said(tmp_path: Path, home: Home) -> None:
    """An unfinished fold, the one of all cases, and labels that are no organs of ours."""
    labels = {"background": 0, "Leber": 1, "Kidney (R)": 2}
    model = write_v2(tmp_path, folds=("0", "1", "all"), described=dataset(labels=labels))
    (model / "fold_1" / "checkpoint_final.pth").rename(model / "fold_1" / "checkpoint_latest.pth")
    package = import_nnunet(model, home=home)
    (stage,) = package.card.stages
    assert len(stage.weights_files) == 1
    assert stage.labels == ("background", "other:Leber", "right_kidney")
    notes = package.card.provenance["notes"]
    assert [note.split(":")[0] for note in notes] == [
        "Fold 1 is left out",
        "Fold all is left out, as nnU-Net does beside numbered folds; --folds names others.",
        "1 label is no organ of ours and will not be shown",
    ]
    assert '--map "Leber=ORGAN"' in notes[2]
    said = import_nnunet(model, home=home, name="said", folds=["0"], label_map={"Leber": None})
    assert said.card.provenance["notes"] == []


def test_a_fold_of_another_configuration_is_refused(tmp_path: Path, home: Home) -> None:
    model = write_v2(tmp_path, folds=("0", "1"))
    path = model / "fold_1" / "checkpoint_final.pth"
    content = torch.load(path, weights_only=False)
    content["init_args"]["configuration"] = "3d_lowres"
    torch.save(content, path)
    with pytest.raises(InputError, match="a fold of 3d_lowres"):
        import_nnunet(model, home=home)
    assert nothing_installed(home)


@pytest.mark.parametrize(
    "facts",
    [
        {"inference_allowed_mirroring_axes": 5},
        {"inference_allowed_mirroring_axes": [True, [0], "x", 7, 2, 2, 0]},
        {"init_args": [1]},
        {"init_args": {"configuration": 3}},
        {"trainer_name": [["x"] * 50] * 50},
    ],
)
def test_odd_facts_of_a_checkpoint_are_passed_over(
    tmp_path: Path, home: Home, facts: dict[str, object]
) -> None:
    model = write_v2(tmp_path)
    path = model / "fold_0" / "checkpoint_final.pth"
    torch.save(torch.load(path, weights_only=False) | facts, path)
    package = import_nnunet(model, home=home)
    assert len(str(package.card.provenance)) < 2000
    axes = facts.get("inference_allowed_mirroring_axes", (0, 1, 2))
    wanted = {5: (), (0, 1, 2): (0, 1, 2)}.get(axes if not isinstance(axes, list) else 0, (0, 2))
    assert package.card.stages[0].mirror_axes == wanted


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('{"labels": ' + "[" * 5000 + "]" * 5000 + "}", "nested|recursion"),
        ('{"labels": {"background": 0, "liver\\ud800": 1}}', "half a character"),
        ("[" * 200_000, "not readable"),
        ("[1]", "no object"),
        ('{"labels": "' + "x" * 17 * 2**20 + '"}', "no object"),
    ],
)
def test_json_that_no_walk_through_would_end_well_for(
    tmp_path: Path, home: Home, text: str, word: str
) -> None:
    model = write_v2(tmp_path)
    (model / "dataset.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=word):
        import_nnunet(model, home=home)
    assert nothing_installed(home)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such files here")
@pytest.mark.parametrize("name", ["plans.json", "dataset.json"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path: Path, home: Home, name: str) -> None:
    model = write_v2(tmp_path)
    (model / name).unlink()
    os.mkfifo(model / name)
    with pytest.raises(InputError):
        import_nnunet(model, home=home)
