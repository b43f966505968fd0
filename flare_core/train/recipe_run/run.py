"""A recipe, from cases to a model that ``flare segment`` runs: START HERE, with `run_recipe`.

cases (import, hold-out, who teaches whom) -> region stage -> teacher, or teachers -> their model ->
rounds: pseudo labels, selection, student (`train.rounds`) -> lesion stage -> package

    RUN/recipe.json  store/ (with --data)  cases/*.json  cache/  region/  teacher-N/  teachers/
        rounds/ (a self-training run of its own)  lesions/  package/  done/STAGE.json

Fine-tuning is the last phase of a training. Invariant: every stage can be repeated without harm and
leaves ``done/STAGE.json`` behind; trainings and rounds go on from their own checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from flare_core import atomic
from flare_core.datasets.flare.dataset import find_dataset
from flare_core.errors import Cancelled
from flare_core.home import ensure_folder
from flare_core.models.package import Package, load_package
from flare_core.segment.runtime import choose_runtime
from flare_core.train.checkpoint import WEIGHTS
from flare_core.train.config import TrainConfig
from flare_core.train.config_file import config_text
from flare_core.train.log import Facts, Listener
from flare_core.train.loop import Trainer
from flare_core.train.processes import Processes, join
from flare_core.train.recipe_run.cases import import_data, require_cases, write_lists
from flare_core.train.recipe_run.models import Trained, finished, model_card, model_name, package_of
from flare_core.train.recipe_run.options import OPTIONS, RecipeOptions, keep_options
from flare_core.train.recipe_run.region import abdomens_found, goes, train_until
from flare_core.train.recipe_run.room import require_room
from flare_core.train.recipes.recipe import Recipe
from flare_core.train.rounds.run import run_rounds, start_rounds
from flare_core.train.rounds.settings import RoundSettings
from flare_core.train.rounds.state import RunFolder
from flare_core.train.strategies import build_strategy

GO_ON = "stopped on request; the same command goes on from here"


@dataclass(frozen=True)
class RecipeRun:
    """One run of a recipe."""

    folder: Path
    """Everything of it is in here."""
    options: RecipeOptions
    """What was asked for."""
    processes: Processes
    """This process among the others."""
    report: Listener
    """Told a dict of facts now and then."""
    asked: Callable[[], bool]
    """Whether to stop."""

    @cached_property
    def recipe(self) -> Recipe:
        """What is run, at its scale."""
        return self.options.scaled

    @property
    def store(self) -> Path:
        """The case store: a person's, or the run's own."""
        return Path(self.options.store) if self.options.store else self.folder / "store"

    @property
    def cases(self) -> Path:
        """Where the lists of cases are."""
        return self.folder / "cases"

    @property
    def teachers(self) -> Path:
        """The model of the first trainings."""
        return self.folder / "teachers"

    @property
    def folds(self) -> int:
        """How many teachers there are."""
        return self.recipe.self_training.folds if self.recipe.self_training else 1

    def tell(self, facts: Facts) -> None:
        """Report, if this process is the one that does."""
        if facts and self.processes.first:
            self.report(facts)

    def config(self, template: TrainConfig, name: str, cases: str) -> TrainConfig:
        """Return a training of the recipe with its cases and where it runs."""
        options = self.options
        bare = build_strategy(template.strategy).uses_unlabelled
        return replace(
            template,
            name=f"{self.recipe.key}-{name}",
            data=(str((self.cases / cases).resolve()),) if cases else (),
            unlabelled=(str((self.cases / "bare.json").resolve()),) if bare and cases else (),
            device=options.device,
            precision=options.precision,
            threads=options.threads,
            seed=options.seed,
        )


def run_recipe(
    folder: Path,
    options: RecipeOptions,
    *,
    report: Listener = lambda _: None,
    asked: Callable[[], bool] = lambda: False,
) -> Package:
    """Run a recipe, or go on where it was stopped; return its model.

    Parameters
    ----------
    folder : Path
        Of the run; made if it is not there.
    report : callable
        Told a dict of facts now and then: the stage at work, loss, scans labelled.
    asked : callable
        Whether to stop; looked at often.

    Raises
    ------
    InputError
        If the folder holds another run, the cases do not suffice, or this machine is too small.
    Cancelled
        If it was asked to stop.
    """
    device = choose_runtime(options.device, options.precision, options.threads).device
    run = RecipeRun(folder.resolve(), options, join(device), report, asked)
    if not (folder / OPTIONS).exists():
        _require_source(options)
    for name, config in run.recipe.trainings.items():
        require_room(run.config(config, name, ""), name)
    if run.processes.first:
        keep_options(folder, options)
    run.processes.wait()
    names = [name for name in STAGES if _has_stage(run.recipe, name)]
    for number, name in enumerate(names, 1):
        _run_stage(run, name, {"number": number, "of": len(names)})
    model = load_package(run.folder / "package")
    run.tell({"event": "done", "model": str(model.folder), "name": model.card.name})
    return model


def _require_source(options: RecipeOptions) -> None:
    """Refuse cases that cannot be used before anything is written."""
    if options.data:
        find_dataset(options.data)
    else:
        require_cases(Path(options.store), options.scaled)


def _run_stage(run: RecipeRun, name: str, facts: Facts) -> None:
    """Do a stage that is not done yet; where processes share it, all of them together."""
    done = run.folder / "done" / f"{name}.json"
    if run.processes.agree(float(done.exists())):
        return
    if run.processes.agree(float(run.asked())):
        raise Cancelled(GO_ON)
    run.tell({"event": "recipe", "stage": name, **facts})
    if run.processes.first or name in SHARED:
        STAGES[name](run)
    run.processes.wait()
    if run.processes.first:
        ensure_folder(done.parent)
        atomic.write_json(done, {"stage": name})
    run.processes.wait()


def _has_stage(recipe: Recipe, stage: str) -> bool:
    """Whether a recipe has a stage."""
    needs = {"region": recipe.region, "rounds": recipe.self_training, "lesions": recipe.lesions}
    return needs.get(stage, recipe) is not None


def cases(run: RecipeRun) -> None:
    """Import what is to be imported, check that it suffices, deal it out."""
    if run.options.data:
        import_data(Path(run.options.data), run.store, run.options.seed)
    require_cases(run.store, run.recipe)
    ensure_folder(run.cases)
    write_lists(run.store, run.cases, run.recipe, run.options.seed)


def region(run: RecipeRun) -> None:
    """Train the network that finds the organs, until it finds them."""
    config = run.recipe.region
    assert config is not None

    def found() -> tuple[int, int]:
        counted = (0, 0)
        if run.processes.first:
            weights = run.folder / "region" / WEIGHTS
            counted = abdomens_found(config, weights, run.options, run.cases / "labelled.json")
        return run.processes.agree(counted)

    train_until(
        goes(config),
        lambda each: _train(run, each, "region", "labelled.json"),
        found,
        lambda text: run.tell({"event": "note", "text": text}),
    )


def teacher(run: RecipeRun) -> None:
    """Train the organ network, once for each fold."""
    for fold in range(run.folds):
        _train(run, run.recipe.teacher, f"teacher-{fold}", f"teacher-{fold}.json")


def teachers(run: RecipeRun) -> None:
    """Make the teachers one model, with the region's network."""
    trained: list[Trained] = []
    if run.recipe.region is not None:
        trained.append((run.recipe.region, (run.folder / "region" / WEIGHTS,)))
    files = tuple(run.folder / f"teacher-{fold}" / WEIGHTS for fold in range(run.folds))
    trained.append((run.recipe.teacher, files))
    package_of(run.teachers, run.options, trained, run.cases / "labelled.json")


def rounds(run: RecipeRun) -> None:
    """Let the teachers label, select, train on it, as often as the recipe says."""
    folder = run.folder / "rounds"
    if run.processes.first and not (folder / "state.json").exists():
        start_rounds(folder, _round_settings(run))
    run.processes.wait()

    def tell(facts: Facts) -> None:
        if run.asked():  # whoever trains looks at the folder after every step
            RunFolder(folder).ask_to_stop()
        run.tell(facts)

    run_rounds(folder, report=tell)


def _round_settings(run: RecipeRun) -> RoundSettings:
    """Return the settings of the recipe's rounds; write the configurations that they name."""
    teaching, recipe = run.recipe.self_training, run.recipe
    assert teaching is not None
    files = {"student": run.cases / "round-student.json", "last": run.cases / "round-last.json"}
    last = recipe.student or recipe.teacher
    for name, template in (("student", recipe.teacher), ("last", last)):
        atomic.write_text(files[name], config_text(run.config(template, name, "")))
    return RoundSettings(
        model_name(recipe, run.options.scale),
        str(run.store.resolve()),
        str(files["student"]),
        teacher=str(run.teachers),
        rounds=teaching.rounds,
        last_student=str(files["last"]),
        strategy=teaching.strategy,
        students_teach=True,
        promote=False,
        home=str(run.folder / "home"),
        device=run.options.device,
        precision=run.options.precision,
        threads=run.options.threads,
        seed=run.options.seed,
    )


def lesions(run: RecipeRun) -> None:
    """Train the lesion network."""
    assert run.recipe.lesions is not None
    _train(run, run.recipe.lesions, "lesions", "labelled.json")


def package(run: RecipeRun) -> None:
    """Put the stages into one model whose card names the recipe."""
    last = load_package(run.teachers)
    if run.recipe.self_training is not None:
        number = run.recipe.self_training.rounds
        last = load_package(RunFolder(run.folder / "rounds").round(number).package)
    card = model_card(run.options, last.card.stages, run.cases / "labelled.json")
    more: list[Trained] = []
    if run.recipe.lesions is not None:
        more.append((run.recipe.lesions, (run.folder / "lesions" / WEIGHTS,)))
    finished(run.folder / "package", replace(last, card=card), run.recipe, more)


STAGES: dict[str, Callable[[RecipeRun], None]] = {
    "cases": cases,
    "region": region,
    "teacher": teacher,
    "teachers": teachers,
    "rounds": rounds,
    "lesions": lesions,
    "package": package,
}
"""In order; a recipe leaves out those that it has no use for."""

SHARED = ("region", "teacher", "rounds", "lesions")
"""Stages that all processes do together (``torchrun``); the first one alone does the others."""


def _train(run: RecipeRun, template: TrainConfig, name: str, cases: str) -> None:
    """Train one network, or go on with it."""
    trainer = Trainer(
        run.config(template, name, cases),
        run.folder / name,
        run.folder / "cache",
        report=lambda facts: run.tell(facts | {"network": name}),
        asked=run.asked,
    )
    trainer.run()
