"""Self-training, round by round: START HERE, with `run_rounds`.

predict the unlabelled -> evidence -> select -> pseudo labels into the case store -> train students
-> package -> review (who should look at what, if no teacher has predicted) -> score old and new on
the frozen hold-out -> promote if not worse

Invariant: every stage leaves a file behind that says it is done and can be repeated without harm,
so a run goes on after kill -9 wherever it was (`state` lists the files). Several processes
(``torchrun``) share prediction, scoring and training; the first one does the rest.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from flare_core.cases.store import open_store
from flare_core.errors import Cancelled, FlareError, InputError
from flare_core.home import open_home
from flare_core.models.package import load_package
from flare_core.segment.runtime import choose_runtime
from flare_core.train.config import TrainConfig
from flare_core.train.config_file import config_text, load_config
from flare_core.train.log import Facts, Listener
from flare_core.train.processes import Processes, join
from flare_core.train.rounds.predict import Elsewhere
from flare_core.train.rounds.settings import RoundSettings
from flare_core.train.rounds.stages import ACTIONS, SHARED, RoundWork
from flare_core.train.rounds.state import STAGES, RoundsState, RunFolder, create_run
from flare_core.train.rounds.student import (
    hold_out_cases,
    require_folds,
    require_several,
    require_warm_start,
)
from flare_core.train.start import require_start
from flare_core.train.strategies import strategy_of
from flare_core.train.training_step import Strategy
from flare_core.wording import by_count, many


def start_rounds(folder: Path, settings: RoundSettings) -> RunFolder:
    """Make a new run after checking everything it will need hours later.

    Raises
    ------
    InputError
        If a run is there already; the case store, the teacher, a student's configuration or the
        strategy cannot be used; or the store has no labelled hold-out to compare models on.
    """
    with open_store(settings.store) as store:
        hold_out_cases(store)
        require_folds(store, settings)
    named = {"student": settings.student, "last_student": settings.last_student}
    configs = {name: load_config(path) for name, path in named.items() if path}
    strategies = [_strategy(settings, config) for config in configs.values()]
    for config in configs.values():
        require_start(config)
    teacher, package = "", None
    if settings.teacher:  # a name may mean another model once a student was promoted
        home = open_home(settings.home)
        package = load_package(settings.teacher, home=home)
        teacher = str(package.folder.resolve())
        if settings.warm_start and (settings.rounds > 1 or not settings.last_student):
            require_warm_start(configs["student"], package)
    require_several(settings, strategies[-1], package)
    texts = {name: config_text(config) for name, config in configs.items()}
    return create_run(folder, settings, teacher, texts)


def _strategy(settings: RoundSettings, config: TrainConfig) -> Strategy:
    """Return how a student learns, once it is known that it can."""
    return strategy_of(
        replace(config, strategy=settings.strategy or config.strategy, unlabelled=())
    )


def run_rounds(
    folder: Path, *, report: Listener = lambda _: None, elsewhere: Elsewhere | None = None
) -> RoundsState:
    """Run all rounds of a run, or go on where it was stopped; return how it ended.

    Parameters
    ----------
    folder : Path
        Of a run that `start_rounds` has made.
    report : callable
        Told a dict of facts now and then; may raise `Cancelled`.
    elsewhere : Elsewhere, optional
        Who labels and scores scans instead of the processes of this run.

    Raises
    ------
    InputError
        If the run is somebody else's at the moment, or something it needs cannot be used.
    Cancelled
        If somebody asked to stop (`RunFolder.ask_to_stop`).
    """
    run = RunFolder(folder)
    processes = meet(run)
    require_even(run.settings, processes.count)
    with run.owned() if processes.first else nullcontext():
        ended = ("failed", "something went wrong; see the log of its process")
        try:
            message = _all_rounds(run, processes, report, elsewhere)
            ended = ("done", message)
        except Cancelled as stopped:
            ended = ("stopped", str(stopped))
            raise
        except FlareError as error:
            ended = ("failed", str(error))
            raise
        finally:
            if processes.first:
                run.end(*ended)
    return run.state


def meet(run: RunFolder) -> Processes:
    """Return this process among those that torchrun started for a run.

    Raises
    ------
    InputError
        If the device is not to be had, or a machine has more processes than GPUs.
    """
    return join(choose_runtime(run.settings.device, "auto", run.settings.threads).device)


def require_even(settings: RoundSettings, processes: int) -> None:
    """Refuse a batch that so many processes cannot share, before hours of prediction.

    Raises
    ------
    InputError
        If a student's batch cannot be dealt out evenly.
    """
    for path in filter(None, (settings.student, settings.last_student)):
        size = load_config(path).batch_size
        if size % processes:
            raise InputError(
                f"{path}: batch_size",
                f"{many(size, 'patch', 'patches')} for {many(processes, 'process', 'processes')}",
                f"a multiple of {processes}",
                "Start fewer processes, or start a new run with another batch_size.",
            )


def _all_rounds(
    run: RunFolder, processes: Processes, report: Listener, elsewhere: Elsewhere | None
) -> str:
    """Run the rounds that are left; return why it ended."""

    def tell(facts: Facts) -> None:
        run.stop_if_asked()
        if facts and processes.first:
            report(facts)

    for number in range(1, run.settings.rounds + 1):
        work = RoundWork(run, run.round(number), processes, tell, elsewhere)
        _one_round(work)
        again = run.settings.students_teach or work.verdict.promote
        if not again and number < run.settings.rounds:
            return (
                f"Ended after round {number}: its student was not promoted, and the next round "
                "would repeat it."
            )
    count = run.settings.rounds
    return by_count(count, "The round is done.", "All {count} rounds are done.")


def _one_round(work: RoundWork) -> None:
    """Do the stages of a round that are not done yet, all processes together."""
    run, processes, number = work.run, work.processes, work.folder.number
    for stage in STAGES:
        if processes.agree(float(run.is_done(number, stage))):
            continue
        if processes.first:
            run.begin(number, stage)
        work.tell({"event": "begin", "round": number, "of": run.settings.rounds, "stage": stage})
        if processes.first or stage in SHARED:
            ACTIONS[stage](work)
        processes.wait()
        if processes.first:
            run.finish(number, stage)
        processes.wait()
