"""FLARE22's brananas: five folds, and what they agree on."""

from __future__ import annotations

from flare_core.train.config import Phase, TrainConfig
from flare_core.train.recipes.nnunet_defaults import (
    ANY_WINDOW,
    DICE_CE,
    EPOCH,
    NNUNET,
    OURS,
    RUNNING_MEAN,
    SGD,
    SOFT_TISSUE,
    unet,
)
from flare_core.train.recipes.recipe import Inference, Recipe, SelfTraining

MM, PATCH = (2.5, 0.8, 0.8), (48, 192, 192)

PAPER = "FLARE22, team brananas, LNCS 13816"

BRANANAS_22 = Recipe(
    "flare22-brananas",
    "brananas: five-fold self-training by agreement",
    team="brananas",
    edition="FLARE22",
    reference=PAPER,
    summary=(
        "Five networks learn from different parts of the labelled scans; a bare scan is believed "
        "where the five agree, and one network learns from all of it."
    ),
    teacher=TrainConfig(
        "organs",
        "organs",
        data=(),
        network=unet("plain_unet", (32, 64, 128, 256, 320, 320), PATCH, MM, classes=14),
        normalisation=SOFT_TISSUE,
        phases=(Phase(MM, PATCH, 1000 * EPOCH, learning_rate=0.01),),
        **(DICE_CE | SGD),
    ),
    self_training=SelfTraining({"kind": "agreement", "least_mean": 0.85}, folds=5),
    inference={"organs": Inference(tile_step=0.5)},
    clean_up="The organ table's rules.",
    sources={
        **OURS,
        **NNUNET,
        "*.network": "nnU-Net's default: the paper's widths are not known here",
        "*.phases": "nnU-Net's defaults: voxels and patch of the paper are not known here",
        "self_training": f"{PAPER}: five folds, mean pairwise DSC of .85 or more",
        "inference.organs": "nnU-Net's default",
    },
    departures=(ANY_WINDOW, RUNNING_MEAN),
)
