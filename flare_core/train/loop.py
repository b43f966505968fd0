"""The training loop on one screen: `Trainer.run`. Run it with ``flare train``.

Each phase: gather the scans at its voxel size (`samples`), then, step by step, draw patches
(`batches`), take one optimiser step on the strategy's loss (`training_step`, `strategies`,
`losses`) at the scheduled rate, move the running mean (`schedule`), and now and then report
(`log`), validate and save.

Under ``torchrun`` several processes do this together (`processes`): each takes its part of every
batch, gradients are averaged, and the first process writes.

Invariant: the folder always holds a whole checkpoint, or none; a killed run loses at most
`TrainConfig.checkpoint_minutes`, one that is asked to stop loses nothing, and both go on when
started again, with the patches they would have seen anyway.
"""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from flare_core import atomic
from flare_core.datasets.cache import Sample
from flare_core.errors import Cancelled, InputError
from flare_core.segment.runtime import choose_runtime
from flare_core.segment.weights import fill
from flare_core.train.batches import Patch, PatchSource, channels_of
from flare_core.train.checkpoint import (
    CHECKPOINT,
    WEIGHTS,
    TrainingProgress,
    load_checkpoint,
    read_start,
    save_checkpoint,
)
from flare_core.train.config import Phase, TrainConfig
from flare_core.train.config_file import config_text
from flare_core.train.log import LOG, Facts, Listener, RunLog
from flare_core.train.processes import join
from flare_core.train.samples import gather_samples
from flare_core.train.schedule import (
    RunningMean,
    learning_rate,
    optimiser_of,
    phase_fraction,
    phase_seconds_left,
    run_fraction,
    run_seconds_left,
)
from flare_core.train.start import require_start
from flare_core.train.strategies import strategy_of
from flare_core.train.training_step import TrainingStep
from flare_core.train.validation import mean_scores, score_samples
from flare_core.wording import many

REPORT_EVERY = 20
"""Steps between two lines of progress."""

MOST_SKIPPED = 100
"""Steps in a row without a finite gradient after which a run has diverged."""

NOT_LEARNT = (
    "name", "stage", "init_from", "held_out_patients", "prefetch", "precision", "device", "threads",
    "validate_every", "validation_scans", "checkpoint_minutes",
)  # fmt: skip
"""Settings that may change on the way: what is learnt does not, or hardly."""

MISFIT = "Correct the network in the configuration, or start from other weights."


class Trainer:
    """One network, from a configuration to weights in a folder.

    Parameters
    ----------
    config : TrainConfig
    folder : Path
        Checkpoint, log and weights go here; a checkpoint found there is continued.
    cache : Path
        Where resampled scans are kept.
    report : callable
        Told a dict of facts now and then: loss, time left, DSC by organ; may raise `Cancelled`.
    asked : callable
        Whether to stop; looked at after every step.

    Raises
    ------
    InputError
        If the strategy cannot be used, the device is not to be had, the folder cannot be made, its
        checkpoint is damaged or another network's, or a batch cannot be dealt out evenly to the
        processes.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: Path,
        cache: Path,
        *,
        report: Listener = lambda _: None,
        asked: Callable[[], bool] = lambda: False,
    ) -> None:
        self.config, self.folder, self.cache, self.asked = config, folder, cache, asked
        strategy = strategy_of(config)
        self.runtime = choose_runtime(config.device, config.precision, config.threads)
        self.processes = join(self.runtime.device)
        _require_even(config.batch_size, self.processes.count)
        shared = 1 if config.threads else self.processes.neighbours  # the cores, among processes
        torch.set_num_threads(max(1, self.runtime.threads // shared))
        torch.manual_seed(config.seed)
        self.training_step = TrainingStep(config, strategy, self.runtime)
        self.mean = RunningMean(config.network, config.ema_decay, self.runtime)
        self.optimiser = optimiser_of(config, self.training_step.trained())
        half = self.runtime.precision == "fp16"
        self.scaler = torch.amp.GradScaler(self.runtime.device, enabled=half)
        self.progress = TrainingProgress()
        self.skipped_in_a_row = 0
        _make_folder(folder)
        self.log = RunLog(folder / LOG, report) if self.processes.first else None
        self._start_or_resume()
        for note in self.runtime.notes:
            self._tell({"event": "note", "text": note})
        alone = self.processes.count == 1
        self.parallel = self.training_step if alone else _averaging(self.training_step)

    @property
    def network(self) -> nn.Module:
        """The network that is trained and exported, without those of the strategy."""
        return self.training_step.student

    def run(self) -> dict[str, float]:
        """Train to the end of the last phase; return the last validation's DSC by organ."""
        while self.progress.phase < len(self.config.phases):
            self._run_phase(self.config.phases[self.progress.phase])
            self.progress = self.progress.next_phase()
            self._save()
        return self.progress.history[-1]["dsc"] if self.progress.history else {}

    def _run_phase(self, phase: Phase) -> None:
        config, among = self.config, self.processes
        whole = phase.patch if phase.whole else None
        training, held_out = gather_samples(
            config, phase.spacing_mm, self.cache, whole=whole, processes=among
        )
        start = (self.progress.phase, self.progress.step)
        with PatchSource(config, phase, training, start, self._device(), processes=among) as source:
            self._run_steps(phase, source, held_out)

    def _run_steps(self, phase: Phase, source: PatchSource, held_out: Sequence[Sample]) -> None:
        recent: deque[tuple[float, float]] = deque(maxlen=REPORT_EVERY)  # loss, seconds for data
        self.training_step.train()
        clock = saved = time.monotonic()
        while phase_fraction(phase, self.progress) < 1.0:
            drawn = time.monotonic()
            batch = source.draw()
            drawn = time.monotonic() - drawn
            rate = self._rate(phase)
            recent.append((self.optimiser_step(batch, rate), drawn))
            now = time.monotonic()
            self.progress.step += 1
            self.progress.total_steps += 1
            self.progress.seconds += now - clock
            if phase.minutes:  # all processes follow one clock, or they would end apart
                self.progress.seconds = self.processes.agree(self.progress.seconds)
            clock = now
            if self._report_due(phase):
                self._tell(self._facts(phase, rate, recent))
            if self._validation_due(phase):
                self._validate(held_out, phase)
            if now - saved > 60 * self.config.checkpoint_minutes:
                self._save()
                saved = now
            self._stop_if_asked()

    def _rate(self, phase: Phase) -> float:
        config = self.config
        return learning_rate(phase, self.progress, config.warm_up_steps, config.rate_decay)

    def _report_due(self, phase: Phase) -> bool:
        """Whether to tell how far we are: also at the end, which a short phase comes to first."""
        last = phase_fraction(phase, self.progress) >= 1.0
        return last or self.progress.step % REPORT_EVERY == 0

    def _stop_if_asked(self) -> None:
        if self.processes.agree(self.asked()):
            self._save()
            self.processes.wait()  # whoever left earlier would take the first process along
            raise Cancelled("stopped on request; the same command goes on from here")

    def optimiser_step(self, batch: Sequence[Patch], rate: float) -> float:
        """Take one optimiser step at a learning rate; return the mean loss of the patches.

        `batch` is this process's part of the step's patches.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        self.training_step.steps = self.progress.total_steps
        total = 0.0
        for number, patch in enumerate(batch, 1):
            with nullcontext() if number == len(batch) else self._without_averaging():
                loss = self.parallel(patch) / len(batch)
                self.scaler.scale(loss).backward()
            total += float(loss.detach())
        self.scaler.unscale_(self.optimiser)
        norm = nn.utils.clip_grad_norm_(self.training_step.trained(), self.config.clip_norm)
        # A patch of nothing but air normalises noise by zero; its gradient means nothing. (In fp16
        # the scaler skips such a step by itself, and takes smaller numbers for the next.)
        finite = bool(torch.isfinite(norm))
        if finite or self.scaler.is_enabled():
            self.scaler.step(self.optimiser)
        self.scaler.update()
        self._count_skipped(finite)
        if finite:
            self.mean.update(self.network, self.progress.total_steps)
            self.training_step.strategy.after_step(self.training_step)
        return total

    def _without_averaging(self) -> AbstractContextManager[None]:
        """Return the context in which gradients are added up here and not yet averaged."""
        one = self.parallel
        return one.no_sync() if isinstance(one, DistributedDataParallel) else nullcontext()

    def _device(self) -> torch.device:
        """Return the device with its number: a thread does not inherit the process's choice."""
        if self.runtime.device != "cuda":
            return torch.device(self.runtime.device)
        return torch.device("cuda", torch.cuda.current_device())

    def _tell(self, facts: Facts) -> None:
        try:
            if self.log is not None:
                self.log.tell(facts)
        except (Cancelled, OSError):  # whoever listened is gone: a reader of our standard output
            self._save()
            raise

    def _count_skipped(self, finite: bool) -> None:
        """Count steps that were not taken; give up on a run that does nothing else any more."""
        self.progress.skipped += not finite
        self.skipped_in_a_row = 0 if finite else self.skipped_in_a_row + 1
        if self.skipped_in_a_row >= MOST_SKIPPED:
            raise InputError(
                "phases: learning_rate",
                f"no finite gradient in {MOST_SKIPPED} steps in a row",
                "a rate, data and a precision with which training does not diverge",
                "Lower it or train in float32; the last checkpoint is from before.",
            )

    def _validation_due(self, phase: Phase) -> bool:
        every = self.config.validate_every
        last = phase_fraction(phase, self.progress) >= 1.0
        return bool(every) and (self.progress.step % every == 0 or last)

    def _validate(self, held_out: Sequence[Sample], phase: Phase) -> None:
        """Score the running mean on held-out scans and remember the scores."""
        scans = held_out[: self.config.validation_scans]
        if not scans:
            return
        classes, step = channels_of(self.config), self.progress.total_steps
        mine = [scans[i] for i in self.processes.part_of(len(scans))]
        rows = score_samples(
            self.mean.ready(), mine, classes, phase.patch, self.config.normalisation, self.runtime
        )
        scores = mean_scores(self.processes.gather(rows))
        self.progress.history.append({"step": step, "dsc": scores})
        self._tell({"event": "validation", "step": step, "dsc": scores})

    def _facts(self, phase: Phase, rate: float, recent: Sequence[tuple[float, float]]) -> Facts:
        """Return one line of progress; times in seconds."""
        losses = self.processes.gather([loss for loss, _ in recent])
        losses = [loss for loss in losses if math.isfinite(loss)]
        return {
            "event": "step",
            "phase": self.progress.phase,
            "step": self.progress.step,
            "loss": round(sum(losses) / len(losses), 4) if losses else None,
            "skipped": self.progress.skipped,
            "learning_rate": rate,
            "seconds_per_step": self.progress.seconds / self.progress.step,
            "data_seconds": sum(seconds for _, seconds in recent) / len(recent),
            "phase_fraction": round(min(1.0, phase_fraction(phase, self.progress)), 4),
            "run_fraction": round(run_fraction(self.config.phases, self.progress), 4),
            "seconds_left": phase_seconds_left(phase, self.progress),
            "run_seconds_left": run_seconds_left(self.config.phases, self.progress),
        }

    def _start_or_resume(self) -> None:
        """Continue a checkpoint, or start from given or random weights."""
        if self.processes.first:
            for left in self.folder.glob(".????????.part.*"):  # of a kill while saving
                left.unlink(missing_ok=True)
        path = self.folder / CHECKPOINT
        if self.processes.agree(path.exists()):
            self._resume(path)
            return
        if note := require_start(self.config):
            self._tell({"event": "note", "text": note})
        if self.config.init_from:
            start = Path(self.config.init_from)
            fill(self.network, read_start(start), source=str(start), action=MISFIT)
        self.mean.network.load_state_dict(self.network.state_dict())
        self.training_step.strategy.begin(self.training_step)

    def _resume(self, path: Path) -> None:
        state = load_checkpoint(path)
        self._require_same(state["config"], path)
        fill(self.network, state["network"], source=str(path), action=MISFIT)
        fill(self.mean.network, state["ema"], source=str(path), action=MISFIT)
        fill(self.training_step.extra, state["strategy"], source=str(path), action=MISFIT)
        self._fill_optimiser(state["optimiser"], path)
        if self.scaler.is_enabled() and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        self.progress = TrainingProgress(**state["progress"])
        facts = {key: getattr(self.progress, key) for key in ("phase", "step", "total_steps")}
        self._tell({"event": "resume", **facts})
        other = changed_settings(json.loads(state["config"]), self._settings(), self.progress.phase)
        if other:
            text = f"{', '.join(other)}: not as before in this run, whose steps so far stay"
            self._tell({"event": "note", "text": text})

    def _fill_optimiser(self, state: dict[str, Any], path: Path) -> None:
        """Give the optimiser its state back; torch itself looks at the number of weights only."""
        try:
            self.optimiser.load_state_dict(state)
            kept = [(each, self.optimiser.state[each]) for each in self.optimiser.state]
            fits = all(
                isinstance(value, torch.Tensor) and value.shape in (each.shape, ())
                for each, values in kept
                for value in values.values()
            )
        except (ValueError, KeyError, TypeError, AttributeError, RuntimeError):
            fits = False
        if not fits:
            came = "a checkpoint whose optimiser belongs to other weights"
            raise InputError(str(path), came, "the one written with these weights", MISFIT)

    def _require_same(self, text: str, path: Path) -> None:
        """Refuse to continue a run whose network meant something else."""
        was, now = json.loads(text), self._settings()
        for each in (was, now):  # its settings may change on the way
            told = each.get("strategy")
            each["strategy"] = told.get("kind") if isinstance(told, dict) else "supervised"
            each.setdefault("optimiser", "adamw")  # there was no other
        for name in ("network", "organs", "normalisation", "strategy", "optimiser"):
            if was.get(name) != now[name]:
                raise InputError(
                    str(path),
                    f"a checkpoint with another {name}",
                    f"the {name} of the configuration",
                    "Choose another run folder, or set init_from to start from those weights.",
                )
        self._require_held_out(was, path)

    def _require_held_out(self, was: dict[str, Any], path: Path) -> None:
        """Refuse to hold out whom the run may have learnt from: their scores would be too good."""
        before = was.get("held_out_patients")
        known = set(before) if isinstance(before, list) else set()
        if more := sorted(set(self.config.held_out_patients) - known):
            raise InputError(
                "held_out_patients",
                f"{', '.join(more)}, not held out so far in {path}",
                "the patients held out when the run began, or fewer",
                "Choose another run folder: these weights may have learnt from them.",
            )

    def _settings(self) -> dict[str, Any]:
        """Return the configuration as a checkpoint has it."""
        settings: dict[str, Any] = json.loads(config_text(self.config))
        return settings

    def _save(self) -> None:
        """Write checkpoint and exported weights."""
        if not self.processes.first:
            return
        from safetensors.torch import save

        save_checkpoint(
            self.folder / CHECKPOINT,
            network=self.network.state_dict(),
            ema=self.mean.network.state_dict(),
            strategy=self.training_step.extra.state_dict(),
            optimiser=self.optimiser.state_dict(),
            config=config_text(self.config),
            progress=self.progress,
            scaler=self.scaler.state_dict(),
        )
        atomic.write_bytes(self.folder / WEIGHTS, save(self.mean.for_export()))


def changed_settings(was: dict[str, Any], now: dict[str, Any], phase: int) -> list[str]:
    """Return the settings that a run goes on with and did not begin with, sorted.

    Phases to come may change, and so may what changes no weights (`NOT_LEARNT`).

    Examples
    --------
    >>> changed_settings({"seed": 0, "phases": [1]}, {"seed": 5, "phases": [1, 2]}, 1)
    ['seed']
    """
    told = [each.get("phases") for each in (was, now)]
    phases = [rows if isinstance(rows, list) else [] for rows in told]
    begun = min(phase + 1, *map(len, phases))
    was, now = (
        {**each, "phases": rows[:begun]} for each, rows in zip((was, now), phases, strict=True)
    )
    names = set(was) & set(now) - set(NOT_LEARNT)
    return sorted(name for name in names if was[name] != now[name])


def _averaging(training: TrainingStep) -> DistributedDataParallel:
    """Return the step so that its gradients come out averaged over all processes."""
    # Without deep supervision the coarse heads exist (public weights hold them) but get no gradient
    unused = not training.config.network.deep_supervision
    return DistributedDataParallel(training, find_unused_parameters=unused)


def _require_even(batch_size: int, count: int) -> None:
    if batch_size % count:
        raise InputError(
            "batch_size",
            f"{many(batch_size, 'patch', 'patches')} for {many(count, 'process', 'processes')}",
            f"a multiple of {count}: each process takes as many patches of every step",
            f"Set batch_size to {count}, or start fewer processes.",
        )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            "folder of the run",
            f"{folder}: {error.strerror or error}",
            "a folder that exists or can be made",
            "Choose another one with -o.",
        ) from error
