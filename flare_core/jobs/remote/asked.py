"""What a client asks of a server, checked before a voxel travels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from flare_core.errors import InputError
from flare_core.home import open_home
from flare_core.imaging.checks import check_grid
from flare_core.imaging.geometry import Geometry
from flare_core.jobs.remote.wire import Fields, Parcel, grid_of
from flare_core.segment.settings import Settings

CHOICES = ("model", "organs", "fast", "cascade", "assume_hu", "lesion_sensitivity")
"""What a client may choose; on what the networks run is the server's business."""

FIELDS = ("command", "image", "settings", "scores")


@dataclass(frozen=True)
class Asked:
    """One scan to segment."""

    parcel: Parcel
    """Its voxels, which are to come."""
    geometry: Geometry
    """Where they are."""
    settings: Settings
    """The client's choices on the server's own."""
    scores: bool
    """Whether what the network believed is wanted too."""


def choices_of(settings: Settings) -> dict[str, Any]:
    """Return what of a client's settings a server is told.

    Who names no model gets the server's own.
    """
    told = {name: value for name, value in settings.to_dict().items() if name in CHOICES}
    if settings.model == Settings.model:
        del told["model"]
    return told


def asked_of(request: Fields, own: Settings, most_bytes: int) -> Asked:
    """Return what a request asks for.

    Parameters
    ----------
    own : Settings
        The server's.
    most_bytes : int
        Largest image, as voxels in memory.

    Raises
    ------
    InputError
        If it is not as it should be, too large, or the model is not here.
    """
    strange = [name for name in request if name not in FIELDS]
    scores = request.get("scores", False)
    if strange or not isinstance(scores, bool):
        raise InputError(
            "request", f"fields {', '.join(map(str, request))}", ", ".join(FIELDS),
            "Install the same version of FLARESeg on both computers.",
        )  # fmt: skip
    settings = settings_of(request.get("settings", {}), own)
    parcel = Parcel.of(request.get("image"), "image")
    z, y, x = parcel.shape
    geometry = grid_of(request["image"], (z, y, x), "image")
    if parcel.size > most_bytes:
        raise InputError(
            "image",
            f"{z} x {y} x {x} voxels of {parcel.type}, {parcel.size / 2**20:.0f} MiB",
            f"at most {most_bytes / 2**20:.0f} MiB on this server (--most-mib)",
            "Crop the scan to the abdomen, or run it on your own computer.",
        )
    check_grid("image", geometry.shape, geometry.spacing_mm)
    return Asked(parcel, geometry, settings, scores)


def settings_of(choices: object, own: Settings) -> Settings:
    """Return a client's choices on the server's own settings.

    Raises
    ------
    InputError
        For a choice that is not the client's or not legal, or a model that is not installed here.
    """
    given = choices if isinstance(choices, dict) else {"settings": choices}
    strange = [str(name) for name in given if name not in CHOICES]
    if strange:
        raise InputError(
            "settings", ", ".join(strange), f"of {', '.join(CHOICES)}", "Leave the others out."
        )
    settings = Settings.from_dict(given, own)
    return replace(settings, model=_installed(settings.model, own))


def _installed(model: str, own: Settings) -> str:
    """Return a model that is the server's own, or among those installed there: never a path.

    Raises
    ------
    InputError
        If it is another one.
    """
    from flare_core.models.listing import all_models

    if model == own.model:
        return model
    names = [row.name for row in all_models(open_home(own.home)) if row.folder is not None]
    if model in {*names, *(name.partition("@")[0] for name in names)}:
        return model
    raise InputError(
        "the server's models",
        repr(model),
        ", ".join(names),
        "Choose one of these, or have it installed there.",
    )
