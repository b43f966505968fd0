"""Whatever stands in a plans file or a dataset.json: it is read, or refused by name."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from flare_core.errors import InputError
from flare_core.models.nnunet.fields import LONGEST, floats, items, real, triple, whole
from flare_core.models.nnunet.labels import channels_of
from flare_core.models.nnunet.plans import plan_of
from flare_core.models.nnunet.v1 import channels_of_v1, plan_of_v1
from flare_core.models.stage_card import Normalisation
from nnunet_folders import (
    NETWORK,
    dataset,
    generic_unet_weights,
    new_architecture,
    old_architecture,
    plans,
    plans_v1,
)

NAN, INF = float("nan"), float("inf")
ODD: tuple[Any, ...] = (
    None, True, -1, 0, 2.5, 10**6, 10**400, NAN, INF, "", "x", "3", [], [1], [[1]], [None] * 3, {},
    {"a": 1}, -(2**63), 2**63, 1e308, 1e-320, "\0", "A" * 5000, [[[]]], {"0": None}, {"": {}}, (),
)  # fmt: skip
REGIONS = dataset(labels={"background": 0, "liver": [1, 2], "aorta": 2}, regions_class_order=[1, 2])


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each value inside."""
    yield at
    inside: Any = value.items() if isinstance(value, dict) else ()
    for key, item in enumerate(value) if isinstance(value, list) else inside:
        yield from places(item, (*at, key))


def spoilt(content: Any) -> Iterator[Any]:
    """The same with one value replaced, in all ways."""
    for at in places(content):
        for odd in ODD:
            changed = [copy.deepcopy(content)]
            inner: Any = changed
            for key in (0, *at)[:-1]:
                inner = inner[key]
            inner[(0, *at)[-1]] = odd
            yield changed[0]


def plain(value: Any) -> Any:
    """As `read_plans_pickle` gives it."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, np.ndarray)):
        return [plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


@pytest.mark.parametrize("architecture", [new_architecture(), old_architecture()])
def test_any_value_in_plans_is_read_or_refused(architecture: dict[str, Any]) -> None:
    for content in spoilt(plans(architecture)):
        with suppress(InputError):
            plan_of(content, "3d_fullres", 3)


@pytest.mark.parametrize("described", [dataset(), REGIONS])
def test_any_value_in_a_dataset_file_is_read_or_refused(described: dict[str, Any]) -> None:
    for content in spoilt(described):
        with suppress(InputError):
            channels_of(content)


def test_any_value_in_plans_of_version_1_is_read_or_refused() -> None:
    weights = generic_unet_weights(NETWORK)
    for content in spoilt(plain(plans_v1())):
        with suppress(InputError):
            channels_of_v1(content, None, {"1": "liver"})
        with suppress(InputError):
            plan_of_v1(content, 0, weights, 3)


def test_the_field_is_named() -> None:
    with pytest.raises(InputError, match=r"(?s)3d_fullres: spacing.*'x'.*finite number"):
        plan_of(plans(spacing=[5.0, "x", 2.0]), "3d_fullres", 3)
    with pytest.raises(InputError, match="3d_fullres: features_per_stage"):
        described = new_architecture()
        described["architecture"]["arch_kwargs"]["features_per_stage"] = [4, 6.5]
        plan_of(plans(described), "3d_fullres", 3)


def test_version_1_plans_may_say_nothing_of_axes() -> None:
    """Old ones do not; nnU-Net then leaves the axes as they are."""
    content = plain(plans_v1(transpose_forward=None))
    found = plan_of_v1(content, 0, generic_unet_weights(NETWORK), 3)
    assert found.transpose == (0, 1, 2)
    assert found.normalisation == Normalisation("ct", -60.0, 250.0, 90.0, 60.0)


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (whole, True), (whole, 2.5), (whole, "3"), (whole, NAN), (real, INF), (real, 10**400),
        (real, None), (triple, [1, 2]), (triple, "123"), (floats, 1.0), (items, "abc"),
        (items, {}), (items, [0] * (LONGEST + 1)),
    ],
)  # fmt: skip
def test_values_of_another_kind_are_refused(read: Any, value: Any) -> None:
    with pytest.raises(InputError, match="here"):
        read(value, "here")
