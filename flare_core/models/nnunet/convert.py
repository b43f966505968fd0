"""A model that nnU-Net trained, made into a package of ours: once, and then without nnU-Net.

folder or zip -> plans and labels -> weights, checked against the plans -> card -> package

The package runs in the compatible mode (`NnunetGrids`), which gives the labels that nnU-Net's own
predictor gives, or, imported with ``About(exact=False)``, in this project's quicker way.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare_core.errors import InputError
from flare_core.home import Home
from flare_core.json_fields import check_json
from flare_core.models.card import ModelCard, StageCard, TrainingSource, WeightsFile
from flare_core.models.nnunet.checkpoint import read_checkpoint
from flare_core.models.nnunet.fields import as_text, need, refusal
from flare_core.models.nnunet.folder import checkpoints, model_folder, opened
from flare_core.models.nnunet.labels import Channels, LabelMap, channels_of, not_ours
from flare_core.models.nnunet.plans import NnunetPlan, plan_of
from flare_core.models.nnunet.shapes import first_misfit, without_duplicates
from flare_core.models.nnunet.v1 import (
    channels_of_v1,
    converted,
    plan_of_v1,
    read_plans_pickle,
    stage_of,
    weights_of_v1,
)
from flare_core.models.package import Package, sweep_models, write_package
from flare_core.paths import usable_path

if TYPE_CHECKING:
    from torch import Tensor

MAX_JSON_BYTES = 16 * 2**20
"""plans.json holds a few kilobytes; a data set's list of files may make it more."""

EXACT_STEP = 0.5
"""nnU-Net's distance of tiles, as a fraction of the patch."""

QUICK_STEP = 0.75
"""Distance of tiles where the labels need not be nnU-Net's to the voxel."""


@dataclass(frozen=True)
class About:
    """What a model folder does not say of itself."""

    version: str = "1.0.0"
    """Version of the package."""
    description: str = ""
    """One or two sentences; made from the folder's name if empty."""
    licence: str = "unknown: ask who trained it"
    """Of the weights."""
    intended_use: str = "Research."
    """What it was made for."""
    limitations: str = "Not a medical device. Not validated by FLARESeg."
    """Where it fails."""
    training_data: tuple[TrainingSource, ...] = ()
    """What it learned from."""
    source: str = ""
    """Where it was fetched from."""
    stage: str = "organs"
    """What the network is for: ``organs``, ``localiser`` or ``lesions``."""
    orientation: str | None = None
    """Axes of the images it was trained on, such as ``SPL`` (DICOM) or ``SAR`` (RAS NIfTI); None:
    as the plans say, else ``SPL``."""
    exact: bool = True
    """True: labels as nnU-Net's own predictor gives them. False: quicker, a little different."""


@dataclass(frozen=True, eq=False)
class NnunetModel:
    """What was read of a model folder."""

    title: str
    """Data set and configuration."""
    plan: NnunetPlan
    """Network and grids."""
    channels: Channels
    """Labels."""
    weights: Mapping[str, Mapping[str, Tensor]]
    """By fold, under our names."""
    facts: Mapping[str, Any]
    """For the card's provenance."""
    notes: tuple[str, ...] = ()
    """What was left out, and what else a person should know."""


def import_nnunet(
    folder_or_zip: str | os.PathLike[str],
    *,
    home: Home,
    name: str | None = None,
    folds: Sequence[int | str] | None = None,
    label_map: LabelMap | None = None,
    about: About | None = None,
) -> Package:
    """Convert a model folder of nnU-Net, v2 or v1, and install it under ``models/NAME/VERSION``.

    Parameters
    ----------
    folder_or_zip : path
        ``<Trainer>__<Plans>__<configuration>``, a folder around it, or a zip of either.
    home : Home
        Where it is installed.
    name : str, optional
        Name of the model; made from data set and configuration if None.
    folds : sequence of int or str, optional
        Folds whose logits are averaged; all that are there if None.
    label_map : mapping of str to str, optional
        The model's label name or number -> our organ key (None: none of ours), where the names do
        not tell.
    about : About, optional
        Licence, source and what else the folder does not say.

    Returns
    -------
    Package
        Installed whole; on any error nothing is.

    Raises
    ------
    InputError
        If the folder or zip is not sound, a fold is missing, the network is of a kind not known
        here, weights and plans do not fit, a checkpoint holds more than numbers, no label is an
        organ, or that name and version is installed already.
    """
    about = about or About()
    source = usable_path(Path(folder_or_zip), "model folder")
    sweep_models(home.models)
    with opened(source, home) as place:
        folder = model_folder(place)
        model = read_model(folder, folds=folds, label_map=label_map)
        stage = stage_card(model, about)
        card = model_card(model, stage, name or model_name(model.title), about)
        files = [stage.name, *(fold.file for fold in stage.folds)]
        tensors = dict(zip(files, model.weights.values(), strict=True))
        return write_package(home.model(card.name, card.version), card, tensors)


def read_model(
    folder: Path,
    *,
    folds: Sequence[int | str] | None = None,
    label_map: LabelMap | None = None,
) -> NnunetModel:
    """Read a model folder of nnU-Net.

    Raises
    ------
    InputError
        As `import_nnunet`.
    """
    if not (folder / "plans.json").is_file():
        return _read_v1(folder, folds, label_map)
    plans, dataset = read_object(folder / "plans.json"), read_object(folder / "dataset.json")
    channels = channels_of(dataset, label_map)
    chosen = checkpoints(folder, folds)
    weights: dict[str, Mapping[str, Tensor]] = {}
    plan: NnunetPlan | None = None
    facts: dict[str, Any] = {}
    for fold, path in chosen.paths.items():
        found = read_checkpoint(path, "network_weights")
        if plan is None:
            facts = _facts(plans, found.facts, folder)
            plan = plan_of(plans, facts["configuration"], len(channels.names))
        _check_same_training(found.facts, facts["configuration"], path)
        weights[fold] = fitting(without_duplicates(found.weights), plan, path)
    if plan is None:
        raise refusal(str(folder), "no fold", "one or more")
    title = f"{facts['dataset'] or folder.parent.name}-{facts['configuration']}"
    notes = (*chosen.notes, *not_ours(channels, label_map))
    return NnunetModel(title, plan, channels, weights, facts | {"folds": list(chosen.paths)}, notes)


def _read_v1(
    folder: Path, folds: Sequence[int | str] | None, label_map: LabelMap | None
) -> NnunetModel:
    plans = read_plans_pickle(folder / "plans.pkl")
    chosen = checkpoints(folder, folds)
    named = folder / "dataset.json"
    channels = channels_of_v1(plans, read_object(named) if named.is_file() else None, label_map)
    stage, trainer = stage_of(next(iter(chosen.paths.values())), plans)
    weights: dict[str, Mapping[str, Tensor]] = {}
    plan: NnunetPlan | None = None
    for fold, path in chosen.paths.items():
        theirs = weights_of_v1(path)
        plan = plan or plan_of_v1(plans, stage, theirs, len(channels.names))
        weights[fold] = fitting(converted(theirs, plan.network), plan, path)
    if plan is None:
        raise refusal(str(folder), "no fold", "one or more")
    data = Path(str(plans.get("preprocessed_data_folder", folder.name))).name
    facts = {"stage": stage, "trainer": trainer, "plans": "v1", "dataset": data}
    notes = (*chosen.notes, *not_ours(channels, label_map))
    return NnunetModel(data, plan, channels, weights, facts | {"folds": list(chosen.paths)}, notes)


def fitting(weights: Mapping[str, Tensor], plan: NnunetPlan, path: Path) -> Mapping[str, Tensor]:
    """Return the weights if they are those of the plan's network.

    Raises
    ------
    InputError
        Naming the first tensor that differs.
    """
    wrong = first_misfit(plan.network, weights)
    if wrong:
        action = "Plans and weights do not belong together, or the trainer built another network."
        raise InputError(str(path), wrong[0], wrong[1], action)
    return weights


def stage_card(model: NnunetModel, about: About) -> StageCard:
    """Return the stage that runs the model."""
    plan = model.plan
    names = [f"{about.stage}.safetensors"]
    names += [f"{about.stage}-{fold}.safetensors" for fold in list(model.weights)[1:]]
    return StageCard(
        about.stage,
        network=plan.network,
        weights=names[0],
        folds=tuple(WeightsFile(name) for name in names[1:]),
        spacing_mm=plan.spacing_mm,
        patch=plan.patch,
        normalisation=plan.normalisation,
        labels=model.channels.labels,
        tile_step=EXACT_STEP if about.exact else QUICK_STEP,
        regions=model.channels.regions,
        transpose=plan.transpose,
        orientation=about.orientation or plan.orientation or "SPL",
        interpolation="cubic" if about.exact and plan.grids.image_order == 3 else "linear",
        nnunet=plan.grids if about.exact else None,
        mirror_axes=tuple(model.facts.get("mirror_axes") or ()),
        use=f"Imported from nnU-Net: {model.title}",
    )


def model_card(model: NnunetModel, stage: StageCard, name: str, about: About) -> ModelCard:
    """Return the card of the package."""
    organs = ", ".join(model.channels.organs).replace("_", " ")
    return ModelCard(
        name,
        about.version,
        about.description or f"{model.title}, trained by nnU-Net: {organs}.",
        stages=(stage,),
        licence=about.licence,
        intended_use=about.intended_use,
        limitations=about.limitations,
        training_data=about.training_data,
        provenance={
            "imported_from": about.source,
            "nnunet": dict(model.facts),
            "labels": dict(zip(model.channels.names, model.channels.labels, strict=True)),
            "values": dict(zip(model.channels.names, model.channels.values, strict=True)),
            "notes": list(model.notes),
        },
    )


def model_name(title: str) -> str:
    """Return a title as a name a model may have.

    Examples
    --------
    >>> model_name("Dataset298_TotalSegmentator_total_6mm_1559subj-3d_fullres")
    'dataset298_totalsegmentator_total_6mm_1559subj-3d_fullres'
    """
    plain = re.sub(r"[^a-z0-9_-]+", "-", title.lower()).strip("-_")
    return plain[:64] or "nnunet"


def read_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file of anybody's (which may hold NaN, as nnU-Net's plans do).

    Raises
    ------
    InputError
        If there is none, or it is too large.
    """
    legal = f"a JSON object, at most {MAX_JSON_BYTES} bytes"
    if not path.is_file():
        raise refusal(str(path), "no such file", legal)
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_JSON_BYTES + 1)
        value = json.loads(data) if len(data) <= MAX_JSON_BYTES else None
        check_json(value, data)
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise refusal(str(path), f"not readable: {error}", legal) from error
    if not isinstance(value, dict):
        raise refusal(str(path), f"{len(data)} bytes that are no object", legal)
    return value


def _configuration_in(checkpoint: Mapping[str, Any]) -> str | None:
    arguments = checkpoint.get("init_args")
    stated = arguments.get("configuration") if isinstance(arguments, Mapping) else None
    return stated if isinstance(stated, str) else None


def _check_same_training(checkpoint: Mapping[str, Any], configuration: str, path: Path) -> None:
    """Refuse a fold of another configuration: its weights may fit, but not its voxel size."""
    stated = _configuration_in(checkpoint)
    if stated not in (None, configuration):
        action = "Import the folds of one configuration (--folds)."
        raise refusal(str(path), f"a fold of {stated}", configuration, action=action)


def _facts(plans: Mapping[str, Any], checkpoint: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return what the first checkpoint and the plans tell about the training."""
    mirrored = checkpoint.get("inference_allowed_mirroring_axes")
    mirrored = mirrored if isinstance(mirrored, (list, tuple)) else ()
    return {
        "configuration": _configuration_in(checkpoint) or folder.name.rpartition("__")[2],
        "trainer": as_text(checkpoint.get("trainer_name")),
        "plans": as_text(plans.get("plans_name")),
        "dataset": as_text(need(plans, "dataset_name", "plans.json")),
        "mirror_axes": sorted({axis for axis in mirrored if type(axis) is int and 0 <= axis < 3}),
    }
