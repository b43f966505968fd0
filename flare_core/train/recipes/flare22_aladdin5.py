"""FLARE22's aladdin5: a region network, and two decoders that label bare scans for each other."""

from __future__ import annotations

from flare_core.train.config import Phase, TrainConfig
from flare_core.train.recipes.nnunet_defaults import (
    ANY_WINDOW,
    DICE_CE,
    EPOCH,
    MULTICLASS_REGION,
    NNUNET,
    OURS,
    RUNNING_MEAN,
    SGD,
    SOFT_TISSUE,
    unet,
)
from flare_core.train.recipes.recipe import Departure, Inference, Recipe

REGION_MM, REGION_PATCH = (5.0, 4.0, 4.0), (64, 96, 96)
MM, PATCH = (2.5, 1.0, 1.0), (48, 160, 160)

PAPER = "FLARE22, team aladdin5, LNCS 13816"

ALADDIN5_22 = Recipe(
    "flare22-aladdin5",
    "aladdin5: cross pseudo supervision between two decoders",
    team="aladdin5",
    edition="FLARE22",
    reference=PAPER,
    summary=(
        "A network at low resolution finds the region; in it, a U-Net with one encoder and two "
        "decoders learns from labels, and on bare scans from the other decoder's answer."
    ),
    region=TrainConfig(
        "region",
        "localiser",
        data=(),
        network=unet("plain_unet", (16, 32, 64, 128), REGION_PATCH, REGION_MM, classes=14),
        normalisation=SOFT_TISSUE,
        phases=(Phase(REGION_MM, REGION_PATCH, 200 * EPOCH, learning_rate=0.01),),
        **(DICE_CE | SGD),
    ),
    teacher=TrainConfig(
        "organs",
        "organs",
        data=(),
        network=unet("dual_decoder_unet", (32, 64, 128, 256, 320), PATCH, MM, classes=14),
        normalisation=SOFT_TISSUE,
        phases=(Phase(MM, PATCH, 1000 * EPOCH, learning_rate=0.01),),
        strategy={"kind": "cross_pseudo"},
        **(DICE_CE | SGD | {"class_balance": 0.5}),
    ),
    inference={"organs": Inference(tile_step=0.5)},
    clean_up=(
        "The largest component of liver, kidneys, spleen and aorta in the paper; here the organ "
        "table's rules, which choose by place as well as by size."
    ),
    sources={
        **OURS,
        **NNUNET,
        "region.network": "ours: the paper's is not known here",
        "region.phases": f"{PAPER}: low resolution; voxels and patch are ours",
        "teacher.network": f"{PAPER}: one encoder, two decoders; widths are nnU-Net's",
        "teacher.phases": "ours: voxels and patch of the paper are not known here",
        "teacher.strategy": f"{PAPER}: cross pseudo supervision on bare scans; the weight is ours",
        "*.class_balance": f"{PAPER}: class-weighted Dice + cross entropy; the power is ours",
        "inference.organs": "nnU-Net's default",
    },
    departures=(
        MULTICLASS_REGION,
        ANY_WINDOW,
        RUNNING_MEAN,
        Departure(
            "classes weigh in both Dice and cross entropy",
            "they weigh in the cross entropy, by their frequency in the patch",
            "Dice counts every organ alike as it is",
        ),
    ),
)
