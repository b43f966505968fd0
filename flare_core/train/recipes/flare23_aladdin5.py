"""FLARE23's winner: region, organs, tumours apart, each a residual U-Net, fine-tuned by class."""

from __future__ import annotations

from flare_core.anatomy.organs import LESION
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
from flare_core.train.recipes.recipe import Departure, Inference, Recipe, SelfTraining

REGION_MM, REGION_PATCH = (5.0, 4.0, 4.0), (96, 112, 128)
ORGAN_MM, ORGAN_PATCH = (2.5, 0.818, 0.818), (64, 128, 224)
LESION_MM, LESION_PATCH = (4.0, 1.2, 1.2), (32, 128, 192)
WIDTHS = (32, 64, 128, 256, 320, 320)
BLOCKS = (1, 3, 4, 6, 6, 6)
WARM_UP = 50 * EPOCH

PAPER = "FLARE23, team aladdin5 (1st), LNCS 14544"
MARGIN_MM = ((40.0, 20.0), (5.0, 5.0), (5.0, 5.0))

ALADDIN5_23 = Recipe(
    "flare23-aladdin5",
    "aladdin5: cascade of region, organs and tumours",
    team="aladdin5",
    edition="FLARE23, 1st",
    reference=PAPER,
    summary=(
        "A coarse network finds the region; an organ network, with pseudo labels for organs that "
        "nobody drew, and a tumour network at coarser voxels work in it. Both end with patches "
        "around each class in turn. A tumour overrides its organ."
    ),
    region=TrainConfig(
        "region",
        "localiser",
        data=(),
        network=unet(
            "residual_encoder_unet",
            (16, 32, 64, 128),
            REGION_PATCH,
            REGION_MM,
            classes=14,
            encoder=(1, 2, 2, 2),
            decoder=1,
        ),
        normalisation=SOFT_TISSUE,
        phases=(Phase(REGION_MM, REGION_PATCH, 200 * EPOCH, learning_rate=0.01),),
        **(DICE_CE | SGD),
    ),
    teacher=TrainConfig(
        "organs",
        "organs",
        data=(),
        network=unet(
            "residual_encoder_unet",
            WIDTHS,
            ORGAN_PATCH,
            ORGAN_MM,
            classes=14,
            encoder=BLOCKS,
            decoder=1,
        ),
        normalisation=SOFT_TISSUE,
        phases=(
            Phase(ORGAN_MM, ORGAN_PATCH, 1000 * EPOCH, learning_rate=0.01),
            Phase(ORGAN_MM, ORGAN_PATCH, 200 * EPOCH, learning_rate=0.01, centred=1.0),
        ),
        focal_gamma=2.0,
        **(DICE_CE | SGD | {"warm_up_steps": WARM_UP}),
    ),
    self_training=SelfTraining({"kind": "confident", "least_confidence": 0.8}),
    lesions=TrainConfig(
        "lesions",
        "lesions",
        data=(),
        network=unet(
            "residual_encoder_unet",
            WIDTHS,
            LESION_PATCH,
            LESION_MM,
            classes=2,
            encoder=BLOCKS,
            decoder=1,
        ),
        normalisation=SOFT_TISSUE,
        organs=(LESION.key,),
        phases=(
            Phase(LESION_MM, LESION_PATCH, 1000 * EPOCH, learning_rate=0.01),
            Phase(LESION_MM, LESION_PATCH, 200 * EPOCH, learning_rate=0.01, centred=1.0),
        ),
        focal_gamma=2.0,
        **(DICE_CE | SGD | {"warm_up_steps": WARM_UP, "class_balance": 0.2}),
    ),
    inference={
        "organs": Inference(tile_step=0.8, margin_mm=MARGIN_MM),
        "lesions": Inference(tile_step=0.5),
    },
    clean_up=(
        "Largest component of liver, spleen, pancreas, adrenals and stomach, components of a tenth "
        "of the largest for kidneys and gallbladder in the paper; here the organ table's rules. "
        "Tumours override."
    ),
    sources={
        **OURS,
        **NNUNET,
        "*.network": f"{PAPER}: residual encoders; widths and blocks are nnU-Net's",
        "*.organs": f"{PAPER}: tumours have a network of their own",
        "region.phases": f"{PAPER}: about 5/4/4 mm; the patch is ours",
        "teacher.phases": f"{PAPER}: 2.5/.818/.818 mm, 64/128/224; 200 epochs of class-centred "
        "patches at rate .01",
        "lesions.phases": f"{PAPER}: 4/1.2/1.2 mm, 32/128/192; then as the organs",
        "*.focal_gamma": f"{PAPER}: Dice + focal, gamma 2",
        "*.warm_up_steps": f"{PAPER}: 50 epochs, of the fine-tuning",
        "lesions.class_balance": f"{PAPER}: tumour weight 2; see the departures",
        "self_training": f"{PAPER}: pseudo labels for organs that are not labelled; whom to "
        "believe is ours",
        "inference.organs": f"{PAPER}: step .8; margins 40 mm below, 20 above, 5 around",
        "inference.lesions": f"{PAPER}: step .5",
    },
    departures=(
        MULTICLASS_REGION,
        ANY_WINDOW,
        RUNNING_MEAN,
        Departure(
            "pseudo labels of FLARE22's most accurate model",
            "those of this recipe's own first network",
            "other people's weights are not part of a recipe",
        ),
        Departure(
            "tumour voxels weigh 2",
            "voxels weigh their class's frequency to the power of -.2",
            "for a tumour of a thirtieth of a patch that is 2; weights follow the patch here",
        ),
        Departure(
            "only the fine-tuning warms up",
            "both phases do",
            "a training has one warm-up for all its phases",
        ),
        Departure(
            "prediction interpolated on the GPU in half precision, in slabs; overlapped threads",
            "the library's own inference",
            "speed is the library's business, the same for every recipe",
        ),
    ),
)
