"""FLARE24's lyy1, for laptops without a GPU: a small student learns a larger network's doubt."""

from __future__ import annotations

from flare_core.models.stage_card import Skipping
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
from flare_core.train.recipes.recipe import Departure, Inference, Recipe, SelfTraining

REGION_MM, REGION_PATCH = (6.0, 6.0, 6.0), (48, 64, 64)
MM, PATCH = (2.28, 1.87, 1.87), (80, 160, 160)

PAPER = "FLARE24 task 2, team lyy1"

LYY1_24 = Recipe(
    "flare24-lyy1",
    "lyy1: distillation for the CPU",
    team="lyy1",
    edition="FLARE24 task 2",
    reference=PAPER,
    summary=(
        "A wide U-Net labels the bare scans softly; a U-Net of base 16 learns from its doubt and "
        "runs with little overlap, so that a laptop needs seconds."
    ),
    region=TrainConfig(
        "region",
        "localiser",
        data=(),
        network=unet("plain_unet", (16, 32, 64, 96), REGION_PATCH, REGION_MM, classes=14),
        normalisation=SOFT_TISSUE,
        phases=(Phase(REGION_MM, REGION_PATCH, 80 * EPOCH, learning_rate=0.01),),
        **(DICE_CE | SGD),
    ),
    teacher=TrainConfig(
        "teacher",
        "organs",
        data=(),
        network=unet("plain_unet", (32, 64, 128, 256, 320), PATCH, MM, classes=14),
        normalisation=SOFT_TISSUE,
        phases=(Phase(MM, PATCH, 1000 * EPOCH, learning_rate=0.01),),
        **(DICE_CE | SGD),
    ),
    student=TrainConfig(
        "student",
        "organs",
        data=(),
        network=unet("plain_unet", (16, 32, 64, 128, 256), PATCH, MM, classes=14),
        normalisation=SOFT_TISSUE,
        phases=(Phase(MM, PATCH, 1000 * EPOCH, learning_rate=0.01),),
        **(DICE_CE | SGD),
    ),
    self_training=SelfTraining({"kind": "soft_labels"}),
    inference={
        "organs": Inference(tile_step=0.875, skipping=Skipping(outside_region=True)),
    },
    clean_up="The organ table's rules.",
    sources={
        **OURS,
        **NNUNET,
        "region.network": "ours: a small network in place of a rule",
        "region.phases": "ours",
        "teacher.network": "ours: the paper's teacher is not known here",
        "student.network": f"{PAPER}: base 16",
        "teacher.phases": f"{PAPER}: 2.28/1.87/1.87 mm, 80/160/160; the schedule is nnU-Net's",
        "student.phases": f"{PAPER}: 2.28/1.87/1.87 mm, 80/160/160; the schedule is nnU-Net's",
        "self_training": f"{PAPER}: distillation",
        "inference.organs": f"{PAPER}: step 7/8; tiles in which the region's network found "
        "nothing are not run, which is ours",
    },
    departures=(
        Departure(
            "the slices to look at follow from where the liver was found",
            "a small network finds the region",
            "the cascade of this library begins with one",
        ),
        Departure("the network runs in ONNX", "it runs in torch", "one runtime for all recipes"),
        ANY_WINDOW,
        RUNNING_MEAN,
    ),
)
