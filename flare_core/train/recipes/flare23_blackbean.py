"""FLARE23's blackbean: a large STU-Net completes the labels, a small one learns them."""

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
    WITH_LESION,
    unet,
)
from flare_core.train.recipes.recipe import Departure, Inference, Recipe, SelfTraining

MM, PATCH = (2.5, 1.5, 1.5), (48, 128, 160)

PAPER = "FLARE23, team blackbean (3rd), LNCS 14544; STU-Net, arXiv 2304.06716"

BLACKBEAN_23 = Recipe(
    "flare23-blackbean",
    "blackbean: STU-Net, large teaches small",
    team="blackbean",
    edition="FLARE23, 3rd",
    reference=PAPER,
    summary=(
        "STU-Net-L learns from complete labels, completes those of the tumour cases, learns again "
        "and labels everything; STU-Net-B learns from nearly all of that."
    ),
    teacher=TrainConfig(
        "teacher",
        "organs",
        data=(),
        network=unet(
            "stunet", (64, 128, 256, 512, 1024, 1024), PATCH, MM, classes=15, encoder=2, decoder=2
        ),
        normalisation=SOFT_TISSUE,
        organs=WITH_LESION,
        phases=(Phase(MM, PATCH, 1000 * EPOCH, learning_rate=0.01, full_share=1.0),),
        **(DICE_CE | SGD),
    ),
    student=TrainConfig(
        "student",
        "organs",
        data=(),
        network=unet(
            "stunet", (32, 64, 128, 256, 512, 512), PATCH, MM, classes=15, encoder=1, decoder=1
        ),
        normalisation=SOFT_TISSUE,
        organs=WITH_LESION,
        phases=(Phase(MM, PATCH, 1000 * EPOCH, learning_rate=0.01),),
        **(DICE_CE | SGD),
    ),
    self_training=SelfTraining({"kind": "iterative", "keep": 0.98}, rounds=2),
    inference={
        "organs": Inference(tile_step=0.8, skipping=Skipping(centre_first="edge", least_voxels=1))
    },
    clean_up="The organ table's rules; lesions that touch no organ are none.",
    sources={
        **OURS,
        **NNUNET,
        "teacher.network": f"{PAPER}: STU-Net-L, 440 M parameters",
        "student.network": f"{PAPER}: STU-Net-B, 32 to 512, 58 M parameters",
        "*.organs": f"{PAPER}: organs and tumour in one network",
        "teacher.phases": f"{PAPER}: 2.5/1.5/1.5 mm, 48/128/160, 1000 epochs, on 250 full labels",
        "student.phases": f"{PAPER}: the same",
        "self_training": f"{PAPER}: completes 1497 tumour cases, then labels 4000, of which 3918 "
        "teach",
        "inference.organs": f"{PAPER}: step .8; of nine windows in plane eight are skipped where "
        "the middle one finds nothing on its edges",
    },
    departures=(
        ANY_WINDOW,
        RUNNING_MEAN,
        Departure(
            "the first round labels the tumour cases only",
            "it labels every scan that is not fully labelled",
            "a round of this library labels all that the teacher can add to",
        ),
    ),
)
