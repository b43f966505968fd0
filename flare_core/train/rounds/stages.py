"""The stages of one round. Each can be repeated: what is on disk already is not made again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from flare_core.anatomy.organs import LESION
from flare_core.cases.store import BY_PEOPLE, CaseRecord, CaseStore, LabelVersion, open_store
from flare_core.datasets.case import Case, load_cases
from flare_core.home import Home, ensure_folder, open_home
from flare_core.models.package import Package, load_package
from flare_core.train.config import TrainConfig
from flare_core.train.log import Listener
from flare_core.train.loop import Trainer
from flare_core.train.processes import ALONE, Processes
from flare_core.train.rounds.comparison import Verdict, first_of_its_name, judge
from flare_core.train.rounds.hold_out import read_scores, score_model
from flare_core.train.rounds.next_cases import store_scores
from flare_core.train.rounds.predict import (
    Elsewhere,
    PredictionJob,
    Predictor,
    label_there,
    name_of,
    predict_all,
    predict_one,
    task_of,
)
from flare_core.train.rounds.promote import incumbent_of, next_version, put_round_in_use
from flare_core.train.rounds.pseudo_labels import Origin, add_pseudo_label
from flare_core.train.rounds.state import RoundFolder, RunFolder
from flare_core.train.rounds.student import (
    hold_out_cases,
    source_of,
    student_card,
    student_config,
    student_package,
    training_cases,
    write_lists,
)
from flare_core.train.strategies import strategy_of
from flare_core.train.strategies.candidate import Candidate, CaseEvidence, Decision, read_evidence
from flare_core.train.strategies.soft_labels import SoftLabels
from flare_core.train.strategies.supervised import Supervised
from flare_core.train.training_step import Strategy

SHARED = ("predict", "train", "review", "score")
"""Stages that all processes do together; the first one alone does the others."""


@dataclass(frozen=True)
class RoundWork:
    """One round of a run, and who works on it."""

    run: RunFolder
    """Where the run is."""
    folder: RoundFolder
    """Where the round is."""
    processes: Processes
    """This process among the others."""
    tell: Listener
    """Told about progress; raises to stop."""
    elsewhere: Elsewhere | None = None
    """Who labels and scores scans instead of these processes."""

    @cached_property
    def teacher(self) -> Package | None:
        """The model that labels this round's scans; None in a first round without one."""
        if self.run.settings.students_teach and self.folder.number > 1:
            return load_package(self.earlier[-1].package)
        return self.incumbent

    @cached_property
    def incumbent(self) -> Package | None:
        """The model to beat; None without one."""
        return incumbent_of(self.run, self.folder.number)

    @cached_property
    def strategy(self) -> Strategy:
        """How unlabelled scans help in this round."""
        return strategy_of(self.config(0))

    @property
    def home(self) -> Home:
        """Where models are installed."""
        return open_home(self.run.settings.home)

    @property
    def verdict(self) -> Verdict:
        """What came out of old against new."""
        return verdict_of(self.folder)

    @property
    def predicts(self) -> bool:
        """Whether this process labels and scores scans, or has workers do it."""
        return self.elsewhere is None or self.processes.first

    @property
    def earlier(self) -> list[RoundFolder]:
        """The rounds before this one."""
        return [self.run.round(n) for n in range(1, self.folder.number)]

    @property
    def bare(self) -> bool:
        """Whether the students learn from no label that was predicted before they train."""
        return self.strategy.uses_unlabelled or type(self.strategy).select is Supervised.select

    @property
    def taught(self) -> bool:
        """Whether a teacher labels scans before the students train."""
        return self.teacher is not None and not self.bare

    @property
    def soft(self) -> bool:
        """Whether the students learn from the teacher's doubt, too."""
        return isinstance(self.strategy, SoftLabels)

    def store(self) -> CaseStore:
        """Open the case store."""
        return open_store(self.run.settings.store)

    def config(self, fold: int) -> TrainConfig:
        """Return the configuration of a fold's student."""
        return student_config(self.run.settings, self.folder, fold=fold, teacher=self.teacher)


def verdict_of(folder: RoundFolder) -> Verdict:
    """Return a round's verdict; the round must have come to it."""
    return Verdict.from_json(folder.need("verdict"))


def predict(work: RoundWork) -> None:
    """Let the teacher label every scan that people have not labelled completely."""
    if work.taught and work.teacher is not None:
        _predict(work, work.teacher, work.tell)


def evidence(work: RoundWork) -> None:
    """Gather the evidence of all scans into one file, and into the store for people to see."""
    _gather(work, _jobs(work, work.teacher) if work.taught and work.teacher else [])


def select(work: RoundWork) -> None:
    """Let the strategy decide which labels are learnt from, each with its reason."""
    found = [CaseEvidence.from_json(row) for row in work.folder.need("candidates")]
    with work.store() as store:
        candidates = [_candidate(work, store.case(each.case), each) for each in found]
    decisions = work.strategy.select(candidates)
    work.folder.write("decisions", [asdict(each) for each in decisions])


def labels(work: RoundWork) -> None:
    """Add the accepted labels to the case store, and write down what the students learn from."""
    settings = work.run.settings
    origin = Origin(work.run.state.run, work.folder.number, work.config(0).strategy)
    with work.store() as store:
        accepted = _accepted(work, store, origin)
        labelled, unlabelled = training_cases(store, accepted, work.folder)
        held_out = hold_out_cases(store)
    write_lists(work.folder, labelled, unlabelled, held_out, settings)
    rows = {v.case: {"version": v.number, "weight": weight} for v, weight in accepted}
    work.folder.write("labels", rows)


def train(work: RoundWork) -> None:
    """Train the students, one after the other; each goes on from its checkpoint."""
    for fold in range(work.run.settings.folds):
        folder = work.folder.student(fold)
        if (folder / "done.json").exists():
            continue
        facts = {"round": work.folder.number, "fold": fold}
        trainer = Trainer(
            work.config(fold),
            folder,
            work.run.cache,
            report=lambda told, facts=facts: work.tell(told | facts),  # type: ignore[misc]
            asked=work.run.is_asked_to_stop,
        )
        scores = trainer.run()
        work.processes.wait()
        if work.processes.first:
            work.folder.write(f"student-{fold}/done", {"dsc": scores})


def package(work: RoundWork) -> None:
    """Turn the students into one model."""
    if (work.folder.package / "card.json").is_file():
        return
    settings = work.run.settings
    configs = [work.config(fold) for fold in range(settings.folds)]
    labelled = load_cases(work.folder.path / "training-0.json")
    card = student_card(
        configs[0],
        work.teacher,
        name=settings.name,
        version=next_version(work.home, settings.name),
        folds=settings.folds,
        source=source_of(labelled, Path(settings.store)),
    )
    student_package(work.folder, configs, card, work.teacher)


def review(work: RoundWork) -> None:
    """Let the new model label the scans if no teacher did: people want to see where it is unsure.

    It is not asked where the next round begins by asking it.
    """
    last = work.folder.number == work.run.settings.rounds
    if work.taught or not (work.bare or last):
        return
    student = load_package(work.folder.package)
    _predict(work, student, lambda facts: work.tell(facts and {**facts, "event": "review"}))
    work.processes.wait()
    if work.processes.first:
        _gather(work, _jobs(work, student))


def score(work: RoundWork) -> None:
    """Score old and new on the frozen hold-out."""
    cases = _held_out(work)
    processes = ALONE if work.elsewhere else work.processes
    for model in _models(work) if work.predicts else ():
        score_model(
            work.run, model, cases, processes=processes, tell=work.tell, elsewhere=work.elsewhere
        )


def promote(work: RoundWork) -> None:
    """Judge old against new; put the new one into use if it is not worse."""
    cases = _held_out(work)
    *old, new = (read_scores(work.run, model, cases) for model in _models(work))
    rule = work.run.settings.rule
    verdict = judge(old[0], new, rule) if old else first_of_its_name(new)
    work.folder.write("verdict", verdict.to_json())
    if verdict.promote and work.run.settings.promote:
        put_round_in_use(work.run, work.folder, before=work.incumbent, reason=verdict.reason)


ACTIONS: dict[str, Callable[[RoundWork], None]] = {
    "predict": predict,
    "evidence": evidence,
    "select": select,
    "labels": labels,
    "train": train,
    "package": package,
    "review": review,
    "score": score,
    "promote": promote,
}
"""What each of `state.STAGES` does."""


def _held_out(work: RoundWork) -> tuple[Case, ...]:
    """Return the hold-out as the round found it, so that both models are measured alike.

    The store may have got scans of these patients since, or other labels.
    """
    return load_cases(work.folder.held_out_cases)


def _predict(work: RoundWork, model: Package, tell: Listener) -> None:
    """Let a model label the round's scans, this process its part of them."""
    jobs, name = _jobs(work, model), name_of(model)
    if not jobs or not work.predicts:
        return
    if work.elsewhere is None:
        predictor = Predictor(model, work.run.settings)
        for note in predictor.notes:
            work.tell({"event": "note", "text": note})

        def do(job: PredictionJob) -> None:
            predict_one(predictor, job, work.folder, work.earlier, tell, soft=work.soft)

        predict_all(do, jobs, work.folder, model=name, processes=work.processes, tell=tell)
        return
    task = task_of(work.run, model, work.elsewhere)
    task = replace(task, round=work.folder.number, soft=work.soft)
    predict_all(
        partial(label_there, task),
        jobs,
        work.folder,
        model=name,
        processes=ALONE,
        tell=tell,
        spread=work.elsewhere.spread,
    )


def _gather(work: RoundWork, jobs: Sequence[PredictionJob]) -> None:
    """Write the evidence of labelled scans into one file and, for people to see, the store.

    The store may have changed while they were labelled: a scan that came since has none yet.
    """
    paths = [work.folder.evidence_of(job.case) for job in jobs]
    found = [read_evidence(path) for path in paths if path.exists()]
    work.folder.write("candidates", [each.to_json() for each in found])
    with work.store() as store:
        store_scores(store, found)


def _jobs(work: RoundWork, model: Package) -> list[PredictionJob]:
    """Return the scans that a model has something to add to."""
    known = set(model.card.found_organs)
    with work.store() as store:
        records = store.cases(held_out=False)
    return [PredictionJob(each.name, each.image) for each in records if not _labelled(each, known)]


def _labelled(record: CaseRecord, organs: set[str]) -> bool:
    """Whether a person has labelled, or accepted, all that the teacher could add."""
    if record.status == "rejected":
        return False
    if record.status == "accepted" and record.kind not in BY_PEOPLE:
        return True
    return record.kind in BY_PEOPLE and organs <= set(record.organs)


def _candidate(work: RoundWork, record: CaseRecord, found: CaseEvidence) -> Candidate:
    path = work.folder.labels_of(record.name)
    return Candidate(
        record.name,
        record.image,
        path if path.exists() else None,
        found.organs,
        found.disagreement,
    )


def _accepted(
    work: RoundWork, store: CaseStore, origin: Origin
) -> list[tuple[LabelVersion, float]]:
    """Return the accepted labels as versions of the store, with the weights of their cases."""
    scratch = ensure_folder(work.folder.path / "scratch")
    found = {row["case"]: CaseEvidence.from_json(row) for row in work.folder.need("candidates")}
    versions = []
    for row in work.folder.need("decisions"):
        decision = Decision.from_json(row)
        if decision.accepted:
            version = add_pseudo_label(
                store,
                decision,
                work.folder.labels_of(decision.case),
                found[decision.case],
                origin,
                scratch=scratch,
                kind="soft" if work.folder.soft_of(decision.case).exists() else "pseudo",
                lesions=LESION.key in work.config(0).organs,
            )
            versions += [(version, decision.weight)] if version else []
        work.tell({})
    return versions


def _models(work: RoundWork) -> Sequence[Package]:
    """Return the old model, if there is one, and the new."""
    new = load_package(work.folder.package)
    return (work.incumbent, new) if work.incumbent is not None else (new,)
