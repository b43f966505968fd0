"""What a round's students learn from, their configuration, and the model they become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from flare_core.cases.store import BY_PEOPLE, CaseStore, LabelVersion
from flare_core.datasets.case import Case, save_cases
from flare_core.datasets.split import patient_folds
from flare_core.datasets.stored import cases_of_store
from flare_core.errors import InputError
from flare_core.models.card import LOCALISER, ModelCard, TrainingSource
from flare_core.models.package import Package, read_weights, write_package
from flare_core.models.stage_card import OTHER, StageCard, WeightsFile
from flare_core.train.checkpoint import WEIGHTS
from flare_core.train.config import TrainConfig
from flare_core.train.config_file import load_config
from flare_core.train.rounds.settings import RoundSettings, with_budget
from flare_core.train.rounds.state import RoundFolder
from flare_core.train.start import other_meaning
from flare_core.train.strategies import build_strategy
from flare_core.train.strategies.agreement import Agreement
from flare_core.wording import many

if TYPE_CHECKING:
    from torch import Tensor

    from flare_core.train.training_step import Strategy

MODELS = ("pseudo", "soft")
"""Kinds of labels that a model made."""

INTENDED = "For research use; not a medical device. Made by self-training on the user's own cases."

LIMITS = (
    "Learned in part from another model's labels and inherits its mistakes. Fit for scans like "
    "those it learned from; see its metrics."
)


def training_cases(
    store: CaseStore, accepted: Sequence[tuple[LabelVersion, float]], folder: RoundFolder
) -> tuple[list[Case], list[Case]]:
    """Return the cases with labels and those without, none of them of the hold-out.

    Parameters
    ----------
    accepted : sequence of (LabelVersion, float)
        Pseudo labels of this round, and how often each case is drawn.
    folder : RoundFolder
        Of this round, where soft maps are.
    """
    cases = {case.name: case for case in cases_of_store(store, kinds=BY_PEOPLE)}
    for case in cases_of_store(store, kinds=MODELS, statuses=("accepted",)):
        cases.setdefault(case.name, replace(case, kind=_persons_kind(store, case) or case.kind))
    for version, weight in accepted:
        case = _pseudo_case(store, version, weight, cases.get(version.case))
        if version.facts.kind == "soft" and version.case not in cases:
            case = replace(case, soft=folder.soft_of(version.case))
        cases[version.case] = case
    rest = [
        Case(record.name, record.image, None, (), record.patient, record.source)
        for record in store.cases(held_out=False)
        if record.name not in cases
    ]
    return list(cases.values()), rest


def hold_out_cases(store: CaseStore) -> tuple[Case, ...]:
    """Return the frozen hold-out's cases that a person has labelled.

    Raises
    ------
    InputError
        If no hold-out was frozen, or nobody has labelled a case of it.
    """
    cases = cases_of_store(store, kinds=BY_PEOPLE, held_out=True)
    if not cases:
        frozen = store.hold_out()
        raise InputError(
            "hold-out of the case store",
            f"{many(len(frozen), 'patient')}, none of them labelled by a person"
            if frozen
            else "none yet",
            "patients who were frozen as hold-out and whose scans have expert or corrected labels",
            "Label the scans of a few patients and freeze them with flare cases hold-out: without "
            "them nobody can tell whether a new model is better.",
        )
    return cases


def _persons_kind(store: CaseStore, case: Case) -> str:
    """Return the kind of the person's labels that an accepted map completes; empty if none."""
    number = store.case(case.name).chosen
    while number is not None:  # a restored version was made from the one it restores
        facts = store.version(case.name, number).facts
        if facts.kind in BY_PEOPLE:
            return facts.kind
        number = facts.parent
    return ""


def _pseudo_case(
    store: CaseStore, version: LabelVersion, weight: float, person: Case | None
) -> Case:
    """Return a case with pseudo labels.

    With a person's labels in it, it weighs as those did, and what they corrected weighs most. It
    stays of their kind: the folds are dealt out by that, and no fold may learn what another must
    not see.
    """
    record, facts = store.case(version.case), version.facts
    case = Case(
        record.name,
        record.image,
        version.path,
        facts.annotated,
        record.patient,
        record.source,
        weight * record.weight,
        kind=facts.kind,
        absent=facts.absent,
        partly=facts.partly,
    )
    if person is None:
        return case
    case = replace(case, weight=person.weight, kind=person.kind)
    return replace(case, before=person.before, reviewed=person.annotated if person.before else ())


def student_config(
    settings: RoundSettings, folder: RoundFolder, *, fold: int, teacher: Package | None
) -> TrainConfig:
    """Return the configuration of one student; its lists of cases are in the round's folder.

    Raises
    ------
    InputError
        If the student's configuration cannot be read.
    """
    last = settings.last_student if folder.number == settings.rounds else ""
    config = with_budget(load_config(last or settings.student), settings)
    start = config.init_from
    if settings.warm_start and teacher is not None and not last:
        start = str(teacher.weights_path(config.stage))
    strategy = settings.strategy or config.strategy
    bare = build_strategy(strategy).uses_unlabelled and folder.read("unlabelled")
    held_out = folder.read("hold_out") or []
    return replace(
        config,
        name=f"{settings.name}-round-{folder.number}-{fold}",
        data=(str(folder.path / f"training-{fold}.json"), str(folder.held_out_cases)),
        unlabelled=(str(folder.path / "unlabelled.json"),) if bare else (),
        strategy=strategy,
        held_out_patients=tuple(held_out),
        init_from=start,
        seed=settings.seed + 1000 * folder.number + fold,
    )


def require_warm_start(config: TrainConfig, teacher: Package) -> None:
    """Refuse to begin with weights that mean something else: each channel another organ, or axes.

    Raises
    ------
    InputError
        If the teacher has no such stage, or its network is not one like the student's.
    """
    card = teacher.card.stage(config.stage)
    came = other_meaning(card, config) if card else f"no stage {config.stage}"
    channels = ", ".join(("background", *config.organs))
    if not came:
        return
    raise InputError(
        f"warm_start: teacher {teacher.card.name}",
        came,
        f"stage {config.stage} with channels {channels}, axes as they are",
        "Set warm_start to false, or name the student's organs in the teacher's order.",
    )


def require_several(settings: RoundSettings, strategy: Strategy, teacher: Package | None) -> None:
    """Refuse agreement where one network alone labels the last round: no label would be accepted.

    Raises
    ------
    InputError
        If so.
    """
    if not isinstance(strategy, Agreement) or (teacher is None and settings.rounds == 1):
        return
    alone = settings.folds == 1
    if settings.rounds == 1 and teacher is not None:  # else this run's own networks label
        alone = not any(stage.folds for stage in teacher.card.stages if stage.name != LOCALISER)
    if alone:
        raise InputError(
            "strategy: kind",
            "agreement, where the labels of the last round are those of one network",
            "a teacher of several networks; or folds and rounds of 2 or more: the networks of one "
            "round then label the next",
            "Set folds and rounds, or choose the strategy confident.",
        )


def write_lists(
    folder: RoundFolder,
    labelled: Sequence[Case],
    unlabelled: Sequence[Case],
    held_out: Sequence[Case],
    settings: RoundSettings,
) -> None:
    """Write the lists of cases that the students' configurations name."""
    save_cases(folder.held_out_cases, held_out)
    save_cases(folder.path / "unlabelled.json", unlabelled)
    folder.write("hold_out", sorted({case.patient for case in held_out}))
    for fold, left_out in enumerate(_left_out(labelled, settings)):
        mine = [case for case in labelled if case.patient not in left_out]
        save_cases(folder.path / f"training-{fold}.json", mine)


def require_folds(store: CaseStore, settings: RoundSettings) -> None:
    """Refuse more folds than there are labelled patients, before hours of prediction.

    Raises
    ------
    InputError
        If the folds cannot be dealt out.
    """
    _left_out(cases_of_store(store, kinds=BY_PEOPLE), settings)


def _left_out(labelled: Sequence[Case], settings: RoundSettings) -> list[set[str]]:
    """Return the patients that each fold does not learn from: people's labels, dealt out."""
    if settings.folds == 1:
        return [set()]
    people = [case for case in labelled if case.kind in BY_PEOPLE]
    return [set(part) for part in patient_folds(people, settings.folds, seed=settings.seed)]


def student_package(
    folder: RoundFolder,
    configs: Sequence[TrainConfig],
    card: ModelCard,
    teacher: Package | None,
) -> Package:
    """Write the round's students as one model; further folds are averaged with the first.

    Parameters
    ----------
    card : ModelCard
        From `student_card`.
    teacher : Package, optional
        Gives the weights of the stages that were not trained.
    """
    mine = configs[0].stage
    tensors: dict[str, dict[str, Tensor]] = {}
    for stage in card.stages:
        if stage.name == mine:
            files = [folder.student(fold) / WEIGHTS for fold in range(len(configs))]
            names = [stage.name, *(fold.file for fold in stage.folds)]
        else:
            assert teacher is not None
            files = list(teacher.weights_paths(stage.name))
            names = [stage.name, *(fold.file for fold in stage.folds)]
        tensors |= {name: read_weights(file) for name, file in zip(names, files, strict=True)}
    return write_package(folder.package, card, tensors)


def student_card(
    config: TrainConfig,
    teacher: Package | None,
    *,
    name: str,
    version: str,
    folds: int,
    source: TrainingSource,
) -> ModelCard:
    """Return the card of a round's model: the teacher's, with the trained stage replaced.

    The teacher's other stages no longer say what the student does: their answer would be taken.
    """
    old = teacher.card if teacher else None
    trained = _stage_card(config, old.stage(config.stage) if old else None, folds)
    theirs = old.stages if old else ()
    left = [each if each.name == config.stage else _left_to(each, config) for each in theirs]
    stages = tuple(
        trained if stage.name == config.stage else stage for stage in left if stage is not None
    )
    if trained not in stages:
        stages = (*stages, trained)
    return ModelCard(
        name,
        version,
        f"{many(len(config.organs), 'organ')} on CT, by self-training.",
        stages=stages,
        licence=old.licence if old else "as the case store's owner decides",
        intended_use=INTENDED,
        limitations=LIMITS,
        training_data=(*(old.training_data if old else ()), source),
        provenance={"teacher": f"{old.name}@{old.version}" if old else "", "config": config.name},
    )


def _left_to(stage: StageCard, config: TrainConfig) -> StageCard | None:
    """Return a teacher's stage without the organs that the student finds; None if none is left."""
    if LOCALISER in (stage.name, config.stage):  # it finds the region, whoever finds the organs
        return stage
    labels = tuple(f"{OTHER}:{key}" if key in config.organs else key for key in stage.labels)
    card = replace(stage, labels=labels)
    return card if card.organ_channels else None


def _stage_card(config: TrainConfig, old: StageCard | None, folds: int) -> StageCard:
    """Return the card of the trained stage; how its box is drawn stays the teacher's."""
    phase = config.phases[-1]
    file = f"{config.stage}.safetensors"
    card = StageCard(
        config.stage,
        network=config.network,
        weights=file,
        folds=tuple(WeightsFile(f"{config.stage}-{fold}.safetensors") for fold in range(1, folds)),
        spacing_mm=phase.spacing_mm,
        patch=phase.patch,
        normalisation=config.normalisation,
        labels=("background", *config.organs),
        whole=phase.whole,
    )
    if old is None:
        return card
    kept = ("tile_step", "margin_mm", "skipping", "least_certainty", "use")
    return replace(card, **{name: getattr(old, name) for name in kept})


def source_of(labelled: Sequence[Case], store: Path) -> TrainingSource:
    """Return what a card says about the cases of a round."""
    by_model = sum(case.kind in MODELS for case in labelled)
    return TrainingSource(
        f"case store {store.name}",
        len(labelled),
        "as the store's owner decides",
        "the user's own cases",
        note=f"{len(labelled) - by_model} labelled by people, {by_model} by a model.",
    )
