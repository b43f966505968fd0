"""FLARE23's hanglok: a FasterNet for the region, a MetaFormer for organs and tumours."""

from __future__ import annotations

from flare_core.train.config import Phase, TrainConfig
from flare_core.train.recipes.nnunet_defaults import (
    ANY_WINDOW,
    MULTICLASS_REGION,
    OURS,
    RUNNING_MEAN,
    SOFT_TISSUE,
    WITH_LESION,
    unet,
)
from flare_core.train.recipes.recipe import Departure, Inference, Recipe, SelfTraining

REGION_MM, REGION_PATCH = (3.2, 3.2, 3.2), (128, 128, 128)
MM, PATCH = (2.0, 1.5, 1.5), (96, 96, 96)
STEM = (2, 2, 2)

PAPER = "FLARE23, team hanglok (5th), LNCS 14544"
STEPS = 80_000

HANGLOK_23 = Recipe(
    "flare23-hanglok",
    "hanglok: FasterNet region, MetaFormer organs and tumours",
    team="hanglok",
    edition="FLARE23, 5th",
    reference=PAPER,
    summary=(
        "Partial convolutions find the region cheaply; in it a MetaFormer, whose late stages "
        "attend, marks organs and tumours. Pseudo labels are refined by self-training."
    ),
    region=TrainConfig(
        "region",
        "localiser",
        data=(),
        network=unet(
            "fasternet_segformer",
            (32, 64, 128, 256),
            REGION_PATCH,
            REGION_MM,
            classes=14,
            encoder=(1, 2, 2, 1),
            decoder=1,
            deep=False,
            stem=STEM,
        ),
        normalisation=SOFT_TISSUE,
        phases=(
            Phase(REGION_MM, REGION_PATCH, STEPS, learning_rate=1e-3, centred=0.0, whole=True),
        ),
        class_balance=0.0,
        centred=0.0,
    ),
    teacher=TrainConfig(
        "organs",
        "organs",
        data=(),
        network=unet(
            "metaformer_unetr",
            (60, 120, 240, 480),
            PATCH,
            MM,
            classes=15,
            encoder=(2, 4, 6, 2),
            decoder=1,
            deep=False,
            stem=STEM,
        ),
        normalisation=SOFT_TISSUE,
        organs=WITH_LESION,
        phases=(Phase(MM, PATCH, STEPS, learning_rate=1e-3),),
        class_balance=0.0,
    ),
    self_training=SelfTraining({"kind": "iterative", "keep": 1.0}, rounds=2),
    inference={"localiser": Inference(whole=True), "organs": Inference(tile_step=0.5)},
    clean_up="Largest components by the organ table's rules; tumours that touch no organ are none.",
    sources={
        **OURS,
        "region.network": f"{PAPER}: FasterNet, 32 to 256, SegFormer decoder; depths are ours",
        "teacher.network": f"{PAPER}: widths 60, 120, 240, 480, depths 2, 4, 6, 2, UNETR decoder",
        "teacher.organs": f"{PAPER}: organs and tumour in one network",
        "region.phases": f"{PAPER}: 128^3 voxels; the steps are those of the fine stage",
        "teacher.phases": f"{PAPER}: 2/1.5/1.5 mm, 96^3, 80 k steps, AdamW 1e-3, cosine",
        "*.class_balance": f"{PAPER}: Dice + cross entropy without weights",
        "region.centred": f"{PAPER}: the whole volume is the patch",
        "self_training": f"{PAPER}: self-training refines the pseudo labels; two rounds are ours",
        "inference.localiser": f"{PAPER}: the whole volume is the input",
        "inference.organs": "ours: the paper's step is not known here",
    },
    departures=(
        MULTICLASS_REGION,
        ANY_WINDOW,
        RUNNING_MEAN,
        Departure(
            "pseudo labels begin with FLARE22's winner",
            "they begin with this recipe's own first network",
            "other people's weights are not part of a recipe",
        ),
    ),
)
