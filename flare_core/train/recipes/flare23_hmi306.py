"""FLARE23's hmi306: the whole region at once, tumours by a mean teacher."""

from __future__ import annotations

from flare_core.anatomy.organs import LESION
from flare_core.train.config import Phase, TrainConfig
from flare_core.train.recipes.nnunet_defaults import (
    ANY_WINDOW,
    EPOCH,
    FIXED_MM,
    MULTICLASS_REGION,
    OURS,
    RUNNING_MEAN,
    SOFT_TISSUE,
    TRAINED_AT_MM,
    unet,
)
from flare_core.train.recipes.recipe import Departure, Inference, Recipe, SelfTraining

REGION_MM, REGION_PATCH = (3.2, 3.2, 3.2), (128, 128, 128)
MM, PATCH = (1.8, 1.8, 1.8), (192, 192, 192)
WIDTHS = (16, 32, 64, 128, 200)

PAPER = "FLARE23, team hmi306 (4th), LNCS 14544"

HMI306_23 = Recipe(
    "flare23-hmi306",
    "hmi306: whole-volume input and a mean teacher for tumours",
    team="hmi306",
    edition="FLARE23, 4th",
    reference=PAPER,
    summary=(
        "The region is found at 128 x 128 x 128 voxels and seen at 192 x 192 x 192, organs and "
        "tumours by networks of their own. Organs learn from pseudo labels, tumours from a running "
        "mean of the student."
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
        centred=0.0,
    ),
    teacher=TrainConfig(
        "organs",
        "organs",
        data=(),
        network=unet("phtrans", WIDTHS, PATCH, MM, classes=14, deep=False),
        normalisation=SOFT_TISSUE,
        phases=(Phase(MM, PATCH, 300 * EPOCH, learning_rate=5e-4),),
        centred=0.0,
    ),
    self_training=SelfTraining({"kind": "iterative", "keep": 1.0}),
    lesions=TrainConfig(
        "lesions",
        "lesions",
        data=(),
        network=unet(
            "light_residual_unet",
            (16, 32, 64, 128, 256),
            PATCH,
            MM,
            classes=2,
            encoder=1,
            decoder=1,
            deep=False,
        ),
        normalisation=SOFT_TISSUE,
        organs=(LESION.key,),
        phases=(Phase(MM, PATCH, 300 * EPOCH, learning_rate=5e-4),),
        strategy={
            "kind": "mean_teacher",
            "decay": 0.99,
            "labelled": 1.0,
            "partly": 0.5,
            "unlabelled": 0.5,
            "least_probability": 0.0,
        },
        centred=0.0,
    ),
    inference={
        "localiser": Inference(whole=True),
        "organs": Inference(tile_step=0.8, margin_mm=((40.0, 40.0), (10.0, 10.0), (10.0, 10.0))),
        "lesions": Inference(tile_step=0.8, whole=True),
    },
    clean_up="The organ table's rules.",
    sources={
        **OURS,
        "region.network": f"{PAPER}: PHTrans; widths are PHTrans's own",
        "teacher.network": f"{PAPER}: PHTrans; widths are PHTrans's own",
        "lesions.network": f"{PAPER}: a residual U-Net; its wiring and widths are ours",
        "lesions.organs": f"{PAPER}: tumours have a network of their own",
        "region.phases": f"{PAPER}: 128^3 voxels; the schedule is PHTrans's own",
        "teacher.phases": f"{PAPER}: 192^3 voxels; the schedule is PHTrans's own",
        "lesions.phases": f"{PAPER}: 192^3 voxels; the schedule is PHTrans's own",
        "lesions.strategy": f"{PAPER}: EMA .99, weights 1, .5, .5, the teacher's arg-max, "
        "reference tumour voxels forced in",
        "*.centred": f"{PAPER}: the whole region is the patch",
        "self_training": f"{PAPER}: organs train, label, train on both",
        "inference.localiser": f"{PAPER}: the whole volume is the input",
        "inference.organs": f"{PAPER}: region + 40/10/10 mm; the step is ours",
        "inference.lesions": f"{PAPER}: the whole region is the input",
    },
    departures=(
        MULTICLASS_REGION,
        FIXED_MM,
        TRAINED_AT_MM,
        ANY_WINDOW,
        RUNNING_MEAN,
        Departure(
            "every pseudo label teaches",
            "those of organs that are empty or of an impossible volume do not",
            "no strategy of this library believes these",
        ),
    ),
)
