from __future__ import annotations

import pytest

from flare_core.errors import InputError
from flare_core.evaluate.protocols import EDITIONS, edition, target_of

FROM_FLARE22 = {
    "liver": 5, "right_kidney": 3, "spleen": 3, "pancreas": 5, "aorta": 2, "inferior_vena_cava": 2,
    "right_adrenal_gland": 2, "left_adrenal_gland": 2, "gallbladder": 2, "esophagus": 3,
    "stomach": 5, "duodenum": 7, "left_kidney": 3,
}  # fmt: skip


def tolerances(key: str) -> dict[str, float]:
    return {target.key: target.tolerance_mm for target in edition(key).targets}


@pytest.mark.parametrize("key", ["flare22", "flare24-task2"])
def test_thirteen_organs(key: str) -> None:
    assert tolerances(key) == FROM_FLARE22
    assert [target.value for target in edition(key).targets] == list(range(1, 14))


def test_flare21_merges_the_kidneys_and_has_one_tolerance() -> None:
    assert tolerances("flare21") == {"liver": 1, "kidneys": 1, "spleen": 1, "pancreas": 1}
    kidneys = edition("flare21").targets[1]
    assert kidneys.value == 2 and kidneys.organs == ("right_kidney", "left_kidney")


def test_flare23_has_the_lesion_apart() -> None:
    assert tolerances("flare23") == {**FROM_FLARE22, "lesion": 2}
    assert [target.key for target in edition("flare23").lesion_targets] == ["lesion"]
    assert len(edition("flare23").organ_targets) == 13


def test_flare24_task1_is_strict() -> None:
    rules = edition("flare24-task1")
    assert rules.strict_labels and [t.value for t in rules.targets] == [1]
    assert not rules.organ_targets and rules.lesion_targets
    assert [key for key, one in EDITIONS.items() if one.strict_labels] == ["flare24-task1"]


@pytest.mark.parametrize("key", EDITIONS)
def test_long_organs_are_compared_on_labelled_slices(key: str) -> None:
    long = {target.key for target in edition(key).targets if target.labelled_slices}
    wanted = {"aorta", "inferior_vena_cava", "esophagus"}
    assert long == (wanted if key in ("flare22", "flare23", "flare24-task2") else set())


def test_gate_and_limits() -> None:
    gates = {key: one.nsd_gate_dsc for key, one in EDITIONS.items()}
    assert gates.pop("flare21") == 0.0 and set(gates.values()) == {0.2}
    limits = edition("flare23").limits
    assert (limits.tolerated_s, limits.tolerated_gpu_gb, limits.ram_gb) == (15.0, 4.0, 28.0)
    assert not edition("flare24-task2").limits.gpu


@pytest.mark.parametrize("key", ["FLARE24-task1", "flare24_task1"])
def test_an_edition_is_known_however_its_name_is_written(key: str) -> None:
    assert edition(key) is EDITIONS["flare24-task1"]


def test_unknown_edition() -> None:
    with pytest.raises(InputError, match="flare24-task2"):
        edition("flare20")


def test_command_line_offers_all_editions() -> None:
    """The list is repeated there, so that `flare --help` imports no scipy."""
    from flare_core.cli import evaluate
    from flare_core.evaluate import protocols

    assert tuple(EDITIONS) == evaluate.EDITIONS and protocols.MODES == evaluate.MODES


def test_a_target_of_ones_own() -> None:
    target = target_of(9, ("esophagus",), tolerance_mm=1.5, long=False)
    assert target.tolerance_mm == 1.5 and not target.labelled_slices
