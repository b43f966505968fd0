"""FLARE22's two-stage PHTrans (lseventeen): convolution and attention side by side, twice."""

from __future__ import annotations

from flare_core.train.config import Phase, TrainConfig
from flare_core.train.recipes.nnunet_defaults import (
    ANY_WINDOW,
    EPOCH,
    FIXED_MM,
    MULTICLASS_REGION,
    OURS,
    RUNNING_MEAN,
    SOFT_TISSUE,
    unet,
)
from flare_core.train.recipes.recipe import Inference, Recipe

REGION_MM, REGION_PATCH = (6.4, 6.4, 6.4), (64, 64, 64)
MM, PATCH = (2.7, 1.7, 1.7), (96, 192, 192)
WIDTHS = (16, 32, 64, 128, 200)

PAPER = "FLARE22, team lseventeen; PHTrans, MICCAI 2022"

PHTRANS_22 = Recipe(
    "flare22-phtrans",
    "lseventeen: two-stage PHTrans",
    team="lseventeen",
    edition="FLARE22",
    reference=PAPER,
    summary=(
        "The whole volume at 64 x 64 x 64 voxels gives the region; the region at 96 x 192 x 192 "
        "gives the organs. Both networks convolve and attend in windows side by side."
    ),
    region=TrainConfig(
        "region",
        "localiser",
        data=(),
        network=unet("phtrans", WIDTHS, REGION_PATCH, REGION_MM, classes=14, deep=False),
        normalisation=SOFT_TISSUE,
        phases=(
            Phase(
                REGION_MM, REGION_PATCH, 300 * EPOCH, learning_rate=5e-4, centred=0.0, whole=True
            ),
        ),
        class_balance=0.0,
        warm_up_steps=20 * EPOCH,
    ),
    teacher=TrainConfig(
        "organs",
        "organs",
        data=(),
        network=unet("phtrans", WIDTHS, PATCH, MM, classes=14, deep=False),
        normalisation=SOFT_TISSUE,
        phases=(Phase(MM, PATCH, 300 * EPOCH, learning_rate=5e-4),),
        class_balance=0.0,
        centred=0.33,
        warm_up_steps=20 * EPOCH,
    ),
    inference={
        "localiser": Inference(whole=True),
        "organs": Inference(tile_step=0.75, margin_mm=((20.0, 20.0),) * 3),
    },
    clean_up="The organ table's rules.",
    sources={
        **OURS,
        "*.network": f"{PAPER}: base 16, at most 200 channels, two stages of convolutions, then "
        "blocks of depth 2, 4 heads, windows of 4",
        "region.phases": f"{PAPER}: 64^3 voxels, 300 epochs, rate 5e-4",
        "teacher.phases": f"{PAPER}: 96/192/192 voxels, 300 epochs, rate 5e-4",
        "*.class_balance": "ours: no weights are told of",
        "teacher.centred": "ours: most patches show the whole region anyway",
        "*.warm_up_steps": f"{PAPER}: 20 epochs",
        "inference.localiser": f"{PAPER}: the whole volume is the input",
        "inference.organs": f"{PAPER}: region + 20 mm; the step is ours",
    },
    departures=(MULTICLASS_REGION, FIXED_MM, ANY_WINDOW, RUNNING_MEAN),
)
