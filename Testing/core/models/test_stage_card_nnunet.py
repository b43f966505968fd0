"""What a card says of a stage that nnU-Net trained."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from core.models.conftest import make_stage
from flare_core.errors import InputError
from flare_core.json_fields import decode, read_json, to_text
from flare_core.models.stage_card import NnunetGrids, StageCard

STAGE = make_stage("organs", ("background", "liver"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("image_order", 2),
        ("image_order_flat", 5),
        ("scores_order", 3),
        ("scores_order_flat", 2),
        ("flat_ratio", 0.5),
        ("average", "votes"),
    ],
)
def test_what_nnunet_cannot_do_is_refused(field: str, value: Any) -> None:
    with pytest.raises(InputError, match="nnunet"):
        NnunetGrids(**{field: value})


def test_a_card_keeps_it_through_json() -> None:
    network = replace(STAGE.network, decoder_kernel_sizes=((1, 3, 3),))
    stage = replace(STAGE, network=network, nnunet=NnunetGrids(slices_apart=False))
    text = to_text(stage, "stage")
    assert decode(StageCard, read_json(text, "stage"), "stage") == stage
    assert decode(StageCard, read_json(to_text(STAGE, "s"), "s"), "s").nnunet is None


def test_decoder_kernels_are_none_or_one_for_each_stage() -> None:
    for wrong in (((3, 3, 3),) * 2, ((0, 3, 3),)):
        with pytest.raises(InputError, match="network"):
            replace(STAGE.network, decoder_kernel_sizes=wrong)
