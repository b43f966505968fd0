"""FLARE23's second: one network for organs and lesions, partial labels by pooled background."""

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
    WITH_LESION,
    unet,
)
from flare_core.train.recipes.recipe import Departure, Inference, Recipe, SelfTraining

MM, PATCH = (2.5, 1.5, 1.5), (32, 192, 192)

PAPER = "FLARE23, team citi (2nd), LNCS 14544"

CITI_23 = Recipe(
    "flare23-citi",
    "citi: partial labels, CutMix of tumours, rounds of pseudo labels",
    team="citi",
    edition="FLARE23, 2nd",
    reference=PAPER,
    summary=(
        "One plain U-Net learns organs and lesions, first from complete labels, then from complete "
        "and partial ones alike. Tumours are pasted into scans that have none; pseudo labels that "
        "do not change between rounds fill the gaps."
    ),
    teacher=TrainConfig(
        "organs",
        "organs",
        data=(),
        network=unet("plain_unet", (32, 64, 128, 256, 320, 320), PATCH, MM, classes=15),
        normalisation=SOFT_TISSUE,
        organs=WITH_LESION,
        phases=(
            Phase(MM, PATCH, 150 * EPOCH, learning_rate=0.01, full_share=1.0),
            Phase(MM, PATCH, 1050 * EPOCH, learning_rate=0.01, full_share=0.5),
        ),
        unannotated="max",
        one_set_batches=True,
        lesion_mix=0.5,
        **(DICE_CE | SGD | {"batch_size": 4}),
    ),
    self_training=SelfTraining({"kind": "iterative", "keep": 0.9}, rounds=2),
    inference={"organs": Inference(tile_step=0.6)},
    clean_up=(
        "Small islands are removed from pseudo labels and results alike, by the organ table's "
        "rules; lesions that touch no organ are none."
    ),
    sources={
        **OURS,
        **NNUNET,
        "*.network": f"{PAPER}: plain U-Net, 6 stages, 32 to 320",
        "*.organs": f"{PAPER}: 13 organs and the tumour in one network",
        "*.phases": f"{PAPER}: 2.5/1.5/1.5 mm, 32/192/192, 1200 epochs; 150 on complete labels, "
        "then half complete, half partial",
        "*.unannotated": f"{PAPER}: unlabelled classes are max-pooled into the background",
        "*.one_set_batches": f"{PAPER}: a batch holds one labelled set, drawn by its size",
        "*.batch_size": f"{PAPER}: 4",
        "*.lesion_mix": f"{PAPER}: CutMix of tumours; its share is not told, ours is half",
        "self_training": f"{PAPER}: selection by round-to-round uncertainty; the share is ours",
        "inference.organs": f"{PAPER}: step .6, no test-time augmentation",
    },
    departures=(
        ANY_WINDOW,
        RUNNING_MEAN,
        Departure(
            "the learning rate falls once, over 1200 epochs",
            "it falls in the first 150 epochs, and again in the others",
            "each phase of a training has a schedule of its own",
        ),
        Departure(
            "a tumour is pasted with its surroundings into an organ's box",
            "the lesion and a rim around it are pasted into an organ (`datasets.lesions.mix`)",
            "the same idea, built once for all recipes",
        ),
    ),
)
