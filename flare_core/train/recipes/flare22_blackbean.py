"""FLARE22's winner: a large teacher, three rounds of pseudo labels, a small fast student."""

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
from flare_core.train.recipes.recipe import Inference, Recipe, SelfTraining

TEACHER_MM, TEACHER_PATCH = (2.5, 0.8, 0.8), (48, 224, 224)
STUDENT_MM, STUDENT_PATCH = (4.0, 1.2, 1.2), (32, 128, 192)
EPOCHS = 1000 * EPOCH

PAPER = "Huang et al., FLARE22 (blackbean), LNCS 13816"

BLACKBEAN_22 = Recipe(
    "flare22-blackbean",
    "blackbean: revisiting nnU-Net for iterative pseudo labels",
    team="blackbean",
    edition="FLARE22, 1st",
    reference=PAPER,
    summary=(
        "A wide U-Net labels the bare scans in three rounds; the scans whose labels change least "
        "between the rounds teach a U-Net of 5.6 M parameters at coarser voxels."
    ),
    teacher=TrainConfig(
        "teacher",
        "organs",
        data=(),
        network=unet(
            "plain_unet",
            (32, 64, 128, 256, 512, 512),
            TEACHER_PATCH,
            TEACHER_MM,
            classes=14,
            encoder=3,
            decoder=3,
        ),
        normalisation=SOFT_TISSUE,
        phases=(Phase(TEACHER_MM, TEACHER_PATCH, EPOCHS, learning_rate=0.01),),
        **DICE_CE,
        **SGD,
    ),
    student=TrainConfig(
        "student",
        "organs",
        data=(),
        network=unet("plain_unet", (16, 32, 64, 128, 256), STUDENT_PATCH, STUDENT_MM, classes=14),
        normalisation=SOFT_TISSUE,
        phases=(Phase(STUDENT_MM, STUDENT_PATCH, EPOCHS, learning_rate=0.01),),
        **DICE_CE,
        **SGD,
    ),
    self_training=SelfTraining({"kind": "iterative", "keep": 0.962}, rounds=3),
    inference={
        "organs": Inference(tile_step=0.5, skipping=Skipping(centre_first="any", least_voxels=1000))
    },
    clean_up="The team kept everything; here the organ table's rules choose the pieces.",
    sources={
        **OURS,
        **NNUNET,
        "teacher.network": f"{PAPER}: 3 convolutions a stage, width 32 to 512",
        "student.network": f"{PAPER}: 5 stages, width 16 to 256, 2 convolutions a stage, 5.6 M",
        "teacher.phases": f"{PAPER}: 2.5/.8/.8 mm, 48/224/224, 1000 epochs, rate .01",
        "student.phases": f"{PAPER}: 4/1.2/1.2 mm, 32/128/192, rate .01",
        "*.optimiser": f"{PAPER}: SGD, rate .01",
        "*.momentum": f"{PAPER}: .99",
        "*.rate_decay": f"{PAPER}: poly, .9",
        "*.weight_decay": f"{PAPER}: 3e-5",
        "*.centred": f"{PAPER}: foreground over-sampling .33",
        "self_training": f"{PAPER}: three rounds; 1924 of 2000 with the lowest u are kept",
        "inference.organs": f"{PAPER}: 3 x 3 windows in plane that overlap by half; where "
        "the middle one finds fewer than 1000 voxels the others are skipped",
    },
    departures=(ANY_WINDOW, RUNNING_MEAN),
)
