"""Public models that can be installed by name: where from, under which licence, what they segment.

Nothing here is fetched until somebody asks for it by name and agrees to source, size and licence
(`models.install`, ``flare models install``).
"""

from __future__ import annotations

from dataclasses import dataclass

from flare_core.anatomy.label_schemes import ORGAN_KEYS
from flare_core.errors import InputError
from flare_core.models.remote_file import RemoteFile

TOTALSEGMENTATOR = "https://github.com/wasserth/TotalSegmentator/releases/download/v2.0.0-weights/"
"""Folder of TotalSegmentator's weights."""

TOTALSEGMENTATOR_CITATION = (
    "Wasserthal J et al. TotalSegmentator: Robust Segmentation of 104 Anatomic Structures in CT "
    "Images. Radiol Artif Intell 2023;5(5):e230024. Isensee F et al. nnU-Net. Nat Methods 2021;18."
)


@dataclass(frozen=True)
class StageArchive:
    """One nnU-Net model folder, as a zip, that becomes one stage."""

    stage: str
    """Stage it becomes: ``localiser``, ``organs``, ``organs_2`` ..."""
    file: RemoteFile
    """Where it is; an empty address: only from a file that the user brings."""
    orientation: str | None = None
    """Axes of the images it was trained on, as in `StageCard.orientation`; None: as it says."""


@dataclass(frozen=True)
class PublicModel:
    """A model that somebody publishes."""

    key: str
    """Its name here."""
    title: str
    """Its name for people."""
    summary: str
    """What it is good for, in a sentence."""
    version: str
    """Version of the package made of it."""
    licence: str
    """SPDX identifier of code and weights."""
    citation: str
    """What to cite."""
    page: str
    """Where a person can read about it."""
    organs: tuple[str, ...]
    """Organ keys it finds."""
    archives: tuple[StageArchive, ...]
    """Its files, in the order of the cascade."""

    @property
    def downloadable(self) -> bool:
        """Whether all of its archives have an address."""
        return all(archive.file.url for archive in self.archives)


def _totalsegmentator(stage: str, folder: str) -> StageArchive:
    return StageArchive(stage, RemoteFile(f"{TOTALSEGMENTATOR}{folder}.zip"), "SAR")


_LOCALISER = _totalsegmentator("localiser", "Dataset298_TotalSegmentator_total_6mm_1559subj")

PUBLIC: dict[str, PublicModel] = {
    model.key: model
    for model in (
        PublicModel(
            key="totalsegmentator",
            title="TotalSegmentator 2, 1.5 mm: organs and vessels",
            summary="The most exact public organs; large networks: minutes on a CPU.",
            version="2.0.0",
            licence="Apache-2.0",
            citation=TOTALSEGMENTATOR_CITATION,
            page="https://github.com/wasserth/TotalSegmentator",
            organs=ORGAN_KEYS,
            archives=(
                _LOCALISER,
                _totalsegmentator("organs", "Dataset291_TotalSegmentator_part1_organs_1559subj"),
                _totalsegmentator("organs_2", "Dataset293_TotalSegmentator_part3_cardiac_1559subj"),
            ),
        ),
        PublicModel(
            key="totalsegmentator_3mm",
            title="TotalSegmentator 2, 3 mm",
            summary="The same organs at half the resolution, several times faster.",
            version="2.0.0",
            licence="Apache-2.0",
            citation=TOTALSEGMENTATOR_CITATION,
            page="https://github.com/wasserth/TotalSegmentator",
            organs=ORGAN_KEYS,
            archives=(
                _LOCALISER,
                _totalsegmentator("organs", "Dataset297_TotalSegmentator_total_3mm_1559subj"),
            ),
        ),
        PublicModel(
            key="stunet",
            title="STU-Net, pre-trained on TotalSegmentator",
            summary="104 structures at 1.5 mm; its publisher's pages ask a person to download it.",
            version="1.0.0",
            licence="Apache-2.0",
            citation="Huang Z et al. STU-Net: Scalable and Transferable Medical Image Segmentation "
            "Models Empowered by Large-Scale Supervised Pre-training. arXiv:2304.06716, 2023.",
            page="https://github.com/uni-medical/STU-Net",
            organs=ORGAN_KEYS,
            archives=(StageArchive("organs", RemoteFile(""), "SAR"),),
        ),
    )
}
"""★ Add a public model: one entry."""


def public_model(key: str) -> PublicModel:
    """Return an entry of the catalogue.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    if key not in PUBLIC:
        raise InputError(
            "model", repr(key), f"one of {', '.join(PUBLIC)}, or a package file (.zip)",
            "flare models list shows what can be installed.",
        )  # fmt: skip
    return PUBLIC[key]
