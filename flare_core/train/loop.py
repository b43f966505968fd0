"""The training loop on one screen. Run it with ``flare train``; see `Trainer.run`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flare_core import atomic
from flare_core.datasets.augment import cut_patch
from flare_core.datasets.cache import Sample
from flare_core.datasets.sampling import PatchSampler
from flare_core.errors import InputError
from flare_core.networks import build_network
from flare_core.networks.space_to_depth import blocks_along_x, fold
from flare_core.segment.runtime import choose_runtime
from flare_core.train.checkpoint import Progress, load_checkpoint, save_checkpoint
from flare_core.train.config import Phase, TrainConfig, config_text
from flare_core.train.losses import deep_supervision_loss
from flare_core.train.samples import gather_samples
from flare_core.train.validation import labels_to_classes, validate

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "weights.safetensors"
LOG = "log.jsonl"


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
        Told a dict of facts now and then: loss, time left, DSC by organ.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: Path,
        cache: Path,
        *,
        report: Callable[[dict[str, Any]], None] = lambda _: None,
    ) -> None:
        self.config, self.folder, self.cache, self.report = config, folder, cache, report
        self.runtime = choose_runtime(config.device, config.precision, config.threads)
        torch.set_num_threads(self.runtime.threads)
        torch.manual_seed(config.seed)
        self.classes = {key: i for i, key in enumerate(config.organs, 1)}
        layout = self.runtime.layout
        self.network = build_network(config.network).to(self.runtime.device, memory_format=layout)
        self.ema = build_network(config.network).to(self.runtime.device, memory_format=layout)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=1e-3, weight_decay=config.weight_decay
        )
        self.scaler = torch.amp.GradScaler(enabled=self.runtime.precision == "fp16")
        self.progress = Progress()
        folder.mkdir(parents=True, exist_ok=True)
        self._start_or_resume()

    def run(self) -> dict[str, float]:
        """Train to the end of the last phase; return the last validation's DSC by organ."""
        while self.progress.phase < len(self.config.phases):
            self._run_phase(self.config.phases[self.progress.phase])
            self.progress = Progress(
                self.progress.phase + 1,
                total_steps=self.progress.total_steps,
                history=self.progress.history,
            )
            self._save()
        return self.progress.history[-1]["dsc"] if self.progress.history else {}

    def _run_phase(self, phase: Phase) -> None:
        training, held_out = gather_samples(self.config, phase.spacing_mm, self.cache)
        seed = hash((self.config.seed, self.progress.phase, self.progress.step)) % 2**32
        sampler = PatchSampler(training, phase.patch, centred=self.config.centred, seed=seed)
        random = np.random.default_rng(seed + 1)
        self.network.train()
        clock = saved = time.monotonic()
        losses: list[float] = []
        while (done := self._phase_fraction(phase)) < 1.0:
            waited = time.monotonic()
            batch = self._batch(sampler, phase, random)
            waited = time.monotonic() - waited
            losses.append(self._step(batch, self._learning_rate(phase, done)))
            now = time.monotonic()
            self.progress.step += 1
            self.progress.total_steps += 1
            self.progress.seconds += now - clock
            clock = now
            if self.progress.step % 20 == 0:
                self._report_step(phase, losses[-20:], waited)
            if self._validation_due(phase):
                self._validate(held_out, phase)
            if now - saved > 60 * self.config.checkpoint_minutes:
                self._save()
                saved = now

    def _step(self, batch: list[tuple[Tensor, Tensor, list[bool]]], learning_rate: float) -> float:
        """Take one optimiser step; return the loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate
        self.optimiser.zero_grad(set_to_none=True)
        total = 0.0
        for image, labels, annotated in batch:
            with torch.autocast(
                self.runtime.device,
                self.runtime.dtype,
                enabled=self.runtime.precision != "float32",
            ):
                levels = self.network(image)
            loss = self._loss(levels, labels, annotated) / len(batch)
            self.scaler.scale(loss).backward()
            total += float(loss.detach())
        self.scaler.unscale_(self.optimiser)
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
        if self.runtime.precision == "fp16" or bool(torch.isfinite(norm)):
            self.scaler.step(self.optimiser)  # for fp16 the scaler itself skips overflows
            self._update_ema()
        else:  # a patch of nothing but air normalises noise by zero; its gradient means nothing
            self.progress.skipped += 1
        self.scaler.update()
        return total

    def _loss(self, levels: Tensor | list[Tensor], labels: Tensor, annotated: list[bool]) -> Tensor:
        """Return the loss over all resolutions; `labels` are classes (1, 1, Z, Y, X)."""
        levels = levels if isinstance(levels, list) else [levels]
        block = self.config.network.space_to_depth
        targets, strides = [], np.ones(3, int)
        for i in range(len(levels)):
            strides = strides * np.asarray(self.config.network.strides[i])
            coarse = labels[:, :, :: strides[0], :: strides[1], :: strides[2]]
            targets.append(blocks_along_x(fold(coarse, block), block))
        return deep_supervision_loss(
            levels, targets, annotated, focal_gamma=self.config.focal_gamma
        )

    def _batch(
        self, sampler: PatchSampler, phase: Phase, random: np.random.Generator
    ) -> list[tuple[Tensor, Tensor, list[bool]]]:
        """Return patches: normalised image, classes, which classes are annotated."""
        batch = []
        n = self.config.normalisation
        device = torch.device(self.runtime.device)
        table = torch.from_numpy(labels_to_classes(np.arange(256).astype(np.uint8), self.classes))
        for _ in range(self.config.batch_size):
            draw = sampler.draw()
            image, ids = cut_patch(draw, phase.patch, self.config.augmentation, random, device)
            image = image.clamp_(n.lower_hu, n.upper_hu).sub_(n.mean).div_(n.std)
            labels = table.to(device)[ids.long()]
            known = draw.sample.case.annotated
            annotated = [True, *(key in known for key in self.classes)]
            batch.append((image, labels, annotated))
        return batch

    def _learning_rate(self, phase: Phase, done: float) -> float:
        """Return warm-up, then a cosine from the peak to a hundredth of it."""
        warm = min(1.0, (self.progress.step + 1) / max(1, self.config.warm_up_steps))
        return phase.learning_rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))

    def _phase_fraction(self, phase: Phase) -> float:
        """Return how much of the phase is done, 0 to 1, by steps or by the clock."""
        by_clock = self.progress.seconds / (60 * phase.minutes) if phase.minutes else 0.0
        return max(self.progress.step / phase.steps, by_clock)

    @torch.no_grad()
    def _update_ema(self) -> None:
        """Move the running mean towards the weights; faster in the first steps."""
        decay = min(self.config.ema_decay, (1 + self.progress.total_steps) / (10 + self.progress.total_steps))
        for mean, now in zip(self.ema.parameters(), self.network.parameters(), strict=True):
            mean.lerp_(now, 1 - decay)

    def _validation_due(self, phase: Phase) -> bool:
        every = self.config.validate_every
        last = self._phase_fraction(phase) >= 1.0
        return bool(every) and (self.progress.step % every == 0 or last)

    def _validate(self, held_out: list[Sample], phase: Phase) -> None:
        """Score the running mean on held-out scans and remember the scores."""
        if not held_out:
            return
        self.ema.eval()
        place = build_network(self.config.network)
        place.load_state_dict(self.ema.state_dict())
        scores = validate(
            self.runtime.place(place),
            held_out[: self.config.validation_scans],
            self.classes,
            phase.patch,
            self.config.normalisation,
            self.runtime,
        )
        self._tell({"event": "validation", "step": self.progress.total_steps, "dsc": scores})
        self.progress.history.append({"step": self.progress.total_steps, "dsc": scores})

    def _report_step(self, phase: Phase, losses: list[float], waited: float) -> None:
        done = max(1e-9, self._phase_fraction(phase))
        self._tell(
            {
                "event": "step",
                "phase": self.progress.phase,
                "step": self.progress.step,
                "loss": round(float(np.nanmean(losses)), 4),
                "skipped": self.progress.skipped,
                "learning_rate": self._learning_rate(phase, done),
                "seconds_per_step": self.progress.seconds / self.progress.step,
                "data_seconds": waited,
                "phase_fraction": round(done, 4),
                "seconds_left": self.progress.seconds * (1 - done) / done,
            }
        )

    def _tell(self, facts: dict[str, Any]) -> None:
        """Append to the log and tell whoever watches."""
        import json

        with (self.folder / LOG).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(facts) + "\n")
        self.report(facts)

    def _start_or_resume(self) -> None:
        """Continue a checkpoint, or start from given or random weights."""
        path = self.folder / CHECKPOINT
        if path.exists():
            state = load_checkpoint(path)
            self._require_same(state["config"])
            self.network.load_state_dict(state["network"])
            self.ema.load_state_dict(state["ema"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.progress = Progress(**state["progress"])
            return
        if self.config.init_from:
            self.network.load_state_dict(_weights_of(Path(self.config.init_from)))
        self.ema.load_state_dict(self.network.state_dict())

    def _require_same(self, text: str) -> None:
        """Refuse to continue a run whose network was another one."""
        import json

        if json.loads(text)["network"] != json.loads(config_text(self.config))["network"]:
            raise InputError(
                str(self.folder / CHECKPOINT),
                "a checkpoint of another network",
                "the network of the configuration",
                "Choose another run folder, or set init_from to start from those weights.",
            )

    def _save(self) -> None:
        """Write checkpoint and exported weights."""
        from safetensors.torch import save_file

        save_checkpoint(
            self.folder / CHECKPOINT,
            network=self.network.state_dict(),
            ema=self.ema.state_dict(),
            optimiser=self.optimiser.state_dict(),
            config=config_text(self.config),
            progress=self.progress,
        )
        half = {k: v.half().contiguous() for k, v in self.ema.state_dict().items()}
        with atomic.atomic_path(self.folder / WEIGHTS) as part:
            save_file(half, part)


def _weights_of(path: Path) -> dict[str, Tensor]:
    """Return the state dict of a checkpoint (its running mean) or a safetensors file."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return {k: v.float() for k, v in load_file(path).items()}
    return load_checkpoint(path)["ema"]
