"""How the archives of each FLARE edition unpack: which folder holds what.

Training lesions of FLARE23 are those its sources had labelled, of FLARE24 the main ones; only their
tuning, validation and testing sets were searched for all.

Sources: FLARE22 and FLARE24 task 1 as published with the data; FLARE21 and FLARE23 as described in
openmedlab's Awesome-Medical-Dataset; FLARE24 task 2 as the organisers keep it for download
(train_gt_label/, train_pseudo_label/, validation/), named so in teams' public code.

A path is written as one regular expression for each folder on the way, joined by slashes; upper and
lower case do not matter. Several paths are alternatives of which all that exist are used.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass


@dataclass(frozen=True)
class Subset:
    """A part of an edition: folders with scans, and where their labels are."""

    key: str
    """``training``, ``unlabelled``, ``tuning``, ``validation``, ``testing``, ``healthy``, ..."""
    images: tuple[str, ...]
    """Paths of the folders with scans, below the data set's folder."""
    labels: tuple[str, ...] = ()
    """Paths of the folders with their label maps; empty if there are none."""
    _: KW_ONLY
    shown: str
    """The folder as the organisers write it, for people."""
    names: str = ".*"
    """What the cases' names look like (regular expression): tells editions with equal folders."""
    all_labelled: bool = True
    """With `labels`: whether every scan must have one."""
    complete: bool = False
    """Whether each label map here annotates all that the edition does, and wholly."""
    lesion_free: bool = False
    """Scans known to show no lesion; they come without label maps, which would be empty."""
    telling: bool = True
    """Whether this folder alone shows which edition it is; ``validation`` and the like do not."""
    collections: bool = False
    """Whether each folder is named after the public collection its scans are from."""
    pseudo: tuple[str, ...] = ()
    """Paths of folders with other teams' predictions for these scans, used only when asked for."""


@dataclass(frozen=True)
class Layout:
    """The folders of one edition."""

    edition: str
    """Name in options: ``flare22``, ``flare24-task1``, ..."""
    title: str
    """Name for people."""
    scheme: str
    """Which numbers its label maps use: a key of `anatomy.label_schemes.SCHEMES`."""
    subsets: tuple[Subset, ...]
    """Its parts."""

    @property
    def looked_for(self) -> str:
        """One short line that says which folder shows this edition first of all: its training."""
        shown = [part.shown for part in self.subsets if part.telling]
        return f"{self.edition}: {shown[0]}{', ...' if len(shown) > 1 else ''}"


FLARE21 = Layout(
    "flare21",
    "FLARE21: liver, kidneys, spleen, pancreas",
    "flare21",
    (
        Subset(
            "training",
            ("(TrainingImg|imagesTr|train_images)",),
            ("(TrainingMask|labelsTr|train_masks)",),
            shown="TrainingImg/ with TrainingMask/ (or imagesTr/, labelsTr/; cases train_000 ...)",
            names=r"train_?\d+",
        ),
        Subset(
            "validation",
            ("(ValidationImg|imagesTs)",),
            shown="ValidationImg/ (or imagesTs/)",
            names=r"validation_?\d+",
        ),
    ),
)

FLARE22 = Layout(
    "flare22",
    "FLARE22: 13 organs, 50 labelled and 2000 unlabelled scans",
    "flare22",
    (
        Subset(
            "training",
            (r"Training/(FLARE\d*_?)?LabeledCase\d*/images", r"FLARE22Train/images"),
            (r"Training/(FLARE\d*_?)?LabeledCase\d*/labels", r"FLARE22Train/labels"),
            shown="Training/FLARE22_LabeledCase50/images/ with labels/",
        ),
        Subset(
            "unlabelled",
            (r"Training/(FLARE\d*_?)?UnlabeledCase\d+-\d+",),
            shown="Training/FLARE22_UnlabeledCase1-1000/ ...",
        ),
        Subset(
            "tuning",
            ("Tuning/images",),
            ("Tuning/labels",),
            shown="Tuning/images/ with labels/",
        ),
        Subset("testing", ("Testing",), shown="Testing/", telling=False, names=r"FLARET.*"),
    ),
)

FLARE23 = Layout(
    "flare23",
    "FLARE23: 13 organs and lesions, partly labelled",
    "flare23",
    (
        Subset(
            "training",
            (r"imagesTr\d+",),
            (r"labelsTr\d+",),
            shown="imagesTr2200/ with labelsTr2200/",
            pseudo=(r".*pseudo.*/imagesTr\d+.*", r".*pseudo.*"),
        ),
        Subset(
            "unlabelled",
            (r"unlabel(l?ed)?Tr\d+",),
            shown="unlabeledTr1800/",
            pseudo=(r".*pseudo.*/unlabel.*", r".*pseudo.*"),
        ),
        Subset(
            "validation",
            ("validation",),
            ("val-gt.*",),
            shown="validation/ with val-gt-50cases-for-sanity-check/",
            all_labelled=False,
            complete=True,
            telling=False,
        ),
    ),
)

FLARE24_TASK1 = Layout(
    "flare24-task1",
    "FLARE24 task 1: lesions of the whole body, partly labelled",
    "flare24_task1",
    (
        Subset(
            "training",
            (r"Train-Labell?ed/(?!labels|Train-).+",),
            (r"Train-Labell?ed/labelsTr\d*",),
            shown="Train-Labeled/DeepLesion-1093/ ... with Train-Labeled/labelsTr/",
            collections=True,
        ),
        Subset(
            "unlabelled",
            (r"Train-Unlabell?ed/(?!Train-).+",),
            shown="Train-Unlabeled/MSD-506/ ...",
            collections=True,
        ),
        Subset(
            "validation",
            ("Validation-Public/lesion-images",),
            ("Validation-Public/lesion-gts",),
            shown="Validation-Public/lesion-images/ with lesion-gts/",
            complete=True,
        ),
        Subset(
            "healthy",
            ("Validation-Public/HealthyImages-noLesion",),
            shown="Validation-Public/HealthyImages-noLesion/",
            lesion_free=True,
        ),
        Subset("hidden", ("Validation-Hidden",), shown="Validation-Hidden/", telling=False),
    ),
)

FLARE24_TASK2 = Layout(
    "flare24-task2",
    "FLARE24 task 2: 13 organs on a laptop, 50 labelled and 2000 scans with pseudo labels",
    "flare22",
    (
        Subset(
            "training",
            ("train_gt_label/imagesTr",),
            ("train_gt_label/labelsTr",),
            shown="train_gt_label/imagesTr/ with labelsTr/",
        ),
        Subset(
            "unlabelled",
            ("train_pseudo_label/imagesTr",),
            shown="train_pseudo_label/imagesTr/",
            pseudo=("train_pseudo_label/.*pseudo.*",),
        ),
        Subset(
            "validation",
            ("validation/Validation-Public-Images",),
            ("validation/Validation-Public-Labels",),
            shown="validation/Validation-Public-Images/ with Validation-Public-Labels/",
        ),
        Subset(
            "hidden",
            ("validation/Validation-Hidden-Images",),
            shown="validation/Validation-Hidden-Images/",
            telling=False,
        ),
    ),
)

PLAIN = Layout(
    "plain",
    "a folder of scans and labels",
    "flare22",
    (
        Subset(
            "cases",
            ("(ct|images|imagesTr)",),
            ("(labels|labelsTr)",),
            shown="ct/, images/ or imagesTr/ with labels/ or labelsTr/ (FLARE22's numbers)",
            all_labelled=False,
        ),
    ),
)

LAYOUTS: dict[str, Layout] = {
    layout.edition: layout
    for layout in (FLARE21, FLARE22, FLARE23, FLARE24_TASK1, FLARE24_TASK2, PLAIN)
}
"""Every layout by its edition. Where several fit equally well, the first one counts."""
