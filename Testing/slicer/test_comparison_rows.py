"""Old model against new in words: what is said of a model, and which one it is."""

from __future__ import annotations

import doctest
import shutil

from FLARETrainLib.comparison import rows
from FLARETrainLib.comparison.rows import compared, finds_nothing, model_title, tip

from flare_core.models.package import load_package

CHANGE = {"organ": "liver", "cases": 3, "old": 0.7, "new": 0.8, "low": 0.0, "high": 0.2}


def verdict(old, new, worse=""):
    changes = [CHANGE | {"metric": name, "worse": worse} for name in ("dsc", "nsd")]
    return {"changes": changes, "old": {"dsc": old, "nsd": old}, "new": {"dsc": new, "nsd": new}}


def test_examples():
    assert doctest.testmod(rows).failed == 0


def test_a_model_in_a_folder_has_the_name_of_its_card(tmp_path):
    package = load_package("default")
    folder = tmp_path / "v 1"
    shutil.copytree(package.folder, folder)
    assert model_title(str(folder)) == f"{package.card.name} {package.card.version}"
    assert model_title("mine@1.2.0") == "mine@1.2.0"
    assert model_title(str(tmp_path / "gone" / "model-7")) == "model-7"


def test_both_at_zero_is_no_success():
    assert finds_nothing(verdict(0.0, 0.0)) and finds_nothing(verdict(0.4, 0.0))
    assert finds_nothing(verdict(0.5, 0.5) | {"finds_nothing": True})
    assert not finds_nothing(verdict(0.0, 0.1)) and not finds_nothing({})


def test_the_tip_holds_what_the_dock_has_no_room_for():
    means, liver = compared(verdict(0.7, 0.8, worse="surely fell"))
    assert "NSD 0.700 to 0.800" in tip(liver) and "3 hold-out scans" in tip(liver)
    assert tip(liver).endswith("surely fell") or "surely fell" in tip(liver)
    assert tip(means).startswith("Mean over organs: DSC 0.700 to 0.800")
