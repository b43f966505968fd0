from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from flare_core.errors import InputError
from flare_core.train.config import LEAST_DEPTH, Phase
from flare_core.train.config_file import config_text, load_config
from tiny_training import tiny_config, write_config

PHASE = Phase((2.0, 2.0, 2.0), (12, 12, 12), steps=10)


def test_a_configuration_survives_its_file(tmp_path: Path) -> None:
    config = tiny_config(tmp_path / "data", seed=7, focal_gamma=2.0)
    assert load_config(write_config(tmp_path / "c.json", config)) == config


def test_the_examples_of_the_default_model_load(repository: Path, tmp_path: Path) -> None:
    examples = sorted((repository / "benchmarks" / "default_model").glob("*.json"))
    assert len(examples) >= 3
    for path in examples:
        config = load_config(path)
        assert config.stage in path.name and all(Path(d).is_absolute() for d in config.data)
        assert load_config(write_config(tmp_path / path.name, config)) == config


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "configs"
    folder.mkdir()
    config = tiny_config(
        Path("../data"),
        init_from="start.safetensors",
        strategy={"kind": "mean_teacher"},
        unlabelled=("bare.json",),
    )
    loaded = load_config(write_config(folder / "c.json", config))
    assert loaded.data == (str(tmp_path / "data"),)
    assert loaded.unlabelled == (str(folder / "bare.json"),)
    assert loaded.init_from == str(folder / "start.safetensors")
    empty = load_config(write_config(folder / "d.json", replace(config, init_from="")))
    assert empty.init_from == ""


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"phases": ()}, "phases"),
        ({"phases": (replace(PHASE, patch=(12, 12, 13)),)}, "phases: patch"),
        ({"phases": (replace(PHASE, patch=(12, 0, 12)),)}, "phases: patch"),
        ({"phases": (replace(PHASE, patch=(2 * LEAST_DEPTH - 2, 12, 12)),)}, "phases: patch"),
        ({"organs": ("liver",)}, "network: output_channels"),
        ({"organs": ("liver", "liver")}, "organs"),
        ({"organs": ("Liver", "spleen")}, "organs"),
        ({"batch_size": 0}, "batch_size"),
        ({"centred": 1.5}, "centred"),
        ({"focal_gamma": 0.5}, "focal_gamma"),
        ({"focal_gamma": -1.0}, "focal_gamma"),
        ({"clip_norm": 0.0}, "clip_norm"),
        ({"ema_decay": 1.0}, "ema_decay"),
        ({"seed": -1}, "seed"),
        ({"phantoms": -1}, "phantoms"),
        ({"unlabelled_share": 1.5}, "unlabelled_share"),
        ({"corrected_weight": -1.0}, "corrected_weight"),
        ({"edited_weight": -1.0}, "edited_weight"),
        ({"lesion_mix": 2.0}, "lesion_mix"),
        ({"prefetch": -1}, "prefetch"),
    ],
)
def test_what_cannot_be_trained_is_refused(changes: dict, part: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        tiny_config(tmp_path, **changes)
    assert error.value.parts[0] == part


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"steps": 0}, "phases: steps"),
        ({"minutes": -1.0}, "phases: minutes"),
        ({"learning_rate": 0.0}, "phases: learning_rate"),
        ({"full_share": 1.1}, "phases: full_share"),
        ({"spacing_mm": (1.0, 0.0, 1.0)}, "phases: spacing_mm"),
    ],
)
def test_so_is_a_phase_that_would_never_end(changes: dict, part: str) -> None:
    with pytest.raises(InputError) as error:
        replace(PHASE, **changes)
    assert error.value.parts[0] == part


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="configuration"):
        load_config(tmp_path / "absent.json")
    with pytest.raises(InputError, match="configuration"):
        load_config(tmp_path)
    for text in ("[]", "{", '{"name": 1}', '{"data": 3}', '{"data": [3]}'):
        path = tmp_path / "c.json"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InputError):
            load_config(path)


def test_a_misspelt_field_is_named(tmp_path: Path) -> None:
    value = json.loads(config_text(tiny_config(tmp_path)))
    value["batchsize"] = 2
    path = tmp_path / "c.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(InputError, match="batchsize"):
        load_config(path)


@pytest.mark.parametrize("name", ["unannotated", "optimiser", "rate_decay"])
def test_words_are_of_a_few(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=name):
        tiny_config(tmp_path, **{name: "something"})
    with pytest.raises(InputError, match="centred"):
        replace(PHASE, centred=1.5)


def test_no_patch_is_centred_where_the_whole_scan_is_the_patch() -> None:
    with pytest.raises(InputError, match="centred"):
        replace(PHASE, whole=True)
    assert replace(PHASE, whole=True, centred=0.0).whole
