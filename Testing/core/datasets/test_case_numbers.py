"""Label maps in other editions' numbers never enter training unnoticed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.datasets.made_dataset import cases_of, make_flare21, make_flare22, make_flare24_task1
from flare_core.datasets.cache import _fingerprint, load_sample
from flare_core.datasets.case import Case, load_cases, save_cases
from flare_core.errors import InputError

SPACING = (5.0, 1.5, 2.0)


def test_a_list_with_foreign_numbers_is_refused(tmp_path: Path) -> None:
    make_flare21(tmp_path / "set")
    save_cases(tmp_path / "list.json", cases_of(tmp_path / "set"))
    with pytest.raises(InputError, match="in the numbers of flare21") as error:
        load_cases(tmp_path / "list.json")
    assert "flare dataset list" in error.value.parts[3]


def test_foreign_numbers_without_labels_do_no_harm(tmp_path: Path) -> None:
    make_flare24_task1(tmp_path / "set")
    bare = [case for case in cases_of(tmp_path / "set") if case.labels is None]
    save_cases(tmp_path / "list.json", bare)
    assert len(load_cases(tmp_path / "list.json")) == len(bare)


def test_our_numbers_pass(tmp_path: Path) -> None:
    make_flare22(tmp_path / "set")
    found = cases_of(tmp_path / "set")
    save_cases(tmp_path / "list.json", found)
    loaded = load_cases(tmp_path / "list.json")
    assert [case.labels for case in loaded] == [case.labels for case in found]


def test_an_unknown_scheme_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(
        '[{"name": "a", "image": "a.nii.gz", "labels": "l.nii.gz", "scheme": "mine"}]'
    )
    with pytest.raises(InputError, match="label scheme"):
        load_cases(tmp_path / "x.json")


def test_the_cache_converts_what_it_is_given(tmp_path: Path) -> None:
    """FLARE21 has 20 voxels of liver, 9 of kidney, 5 of spleen and 3 of pancreas; ours: 1, 2, 13.

    The scan has noise instead of a body, so everything is kept.
    """
    make_flare21(tmp_path / "set")
    case = cases_of(tmp_path / "set")[0]
    plain = Case(case.name, case.image, case.labels)
    wrong = load_sample(plain, SPACING, tmp_path / "cache").labels
    right = load_sample(case, SPACING, tmp_path / "cache").labels
    assert np.bincount(wrong.ravel(), minlength=15)[1:5].tolist() == [20, 9, 5, 3]
    counts = np.bincount(right.ravel(), minlength=15)
    assert counts[[1, 3, 4]].tolist() == [20, 5, 3]
    assert counts[2] + counts[13] == 9, "each kidney by its side"
    assert np.array_equal(np.isin(right, (2, 13)), wrong == 2)


def test_the_cache_of_plain_cases_stays_valid(tmp_path: Path) -> None:
    make_flare22(tmp_path / "set")
    found = cases_of(tmp_path / "set")[0]
    plain = Case(found.name, found.image, found.labels)
    assert _fingerprint(found, SPACING, None) == _fingerprint(plain, SPACING, None)
    foreign = replace(found, scheme="totalsegmentator")
    assert _fingerprint(foreign, SPACING, None) != _fingerprint(plain, SPACING, None)
