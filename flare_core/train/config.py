"""Every knob of a training run: unit, default, reason."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from flare_core.anatomy.organs import organ
from flare_core.datasets.augment.settings import Augmentation
from flare_core.datasets.case import ALL_ORGANS, PARTIAL_REACH_MM
from flare_core.datasets.lesions.settings import LesionSettings
from flare_core.errors import InputError
from flare_core.models.stage_card import NetworkSpec, Normalisation
from flare_core.wording import many

LEAST_DEPTH = 3
"""Least size of the coarsest feature map. On a CPU, oneDNN's bf16 weight gradient of a 3 x 3 x 3
convolution over only 2 slices reads memory nobody wrote (seen with torch 2.13, AVX512-BF16); from 3
on it agrees with float32."""

WORDS = {"unannotated": ("sum", "max"), "optimiser": ("adamw", "sgd"),
         "rate_decay": ("cosine", "poly")}  # fmt: skip
"""Fields of a configuration that are one of a few words."""


@dataclass(frozen=True)
class Phase:
    """A part of the run at one voxel size. Coarse first is cheap: anatomy is learned there."""

    spacing_mm: tuple[float, float, float]
    """Voxel size z, y, x."""
    patch: tuple[int, int, int]
    """Voxels z, y, x; multiples of the network's divisor."""
    steps: int
    """Steps at most."""
    minutes: float = 0.0
    """Wall-clock limit; 0 is none. The learning rate follows whichever limit is nearer, so a slow
    machine still gets a finished schedule."""
    learning_rate: float = 1.5e-3
    """Peak; warm-up before it, a cosine to a hundredth of it after it."""
    full_share: float = 0.0
    """Share of labelled patches from cases that annotate all of `organs`, where there are partly
    labelled ones too: 1 begins with complete labels and .5 goes on with both (FLARE23's second
    team). 0 draws by weight alone."""
    centred: float | None = None
    """Share of class-centred patches in this phase; None: that of the configuration. A last phase
    of 1 is FLARE23's winner's fine-tuning."""
    whole: bool = False
    """True: the body of every scan, whatever its size, is resized to one patch (how FLARE's teams
    find the region); `spacing_mm` is then only about what that comes to. No patch is centred."""

    def __post_init__(self) -> None:
        """Refuse a phase that could not run, or never end."""
        _require(all(s > 0 for s in self.spacing_mm), "phases: spacing_mm", self.spacing_mm, "> 0")
        _require(self.steps >= 1, "phases: steps", self.steps, "1 or more")
        _require(self.minutes >= 0, "phases: minutes", self.minutes, "0 (no limit) or more")
        _require(self.learning_rate > 0, "phases: learning_rate", self.learning_rate, "above 0")
        _require(0 <= self.full_share <= 1, "phases: full_share", self.full_share, "0 to 1")
        fits = self.centred is None or 0 <= self.centred <= 1
        _require(fits, "phases: centred", self.centred, "0 to 1, or null")
        fits = not self.whole or self.centred == 0
        _require(fits, "phases: centred", self.centred, "0 where the whole scan is the patch")


@dataclass(frozen=True)
class TrainConfig:
    """One network's training."""

    name: str
    """Names the run's folder."""
    stage: str
    """Stage of the model card this network becomes: ``localiser``, ``organs``, ``lesions``."""
    _: KW_ONLY
    data: tuple[str, ...]
    """Folders of cases (see `datasets.case.cases_of_folder`) or JSON lists of cases."""
    network: NetworkSpec
    """What is trained."""
    normalisation: Normalisation
    """From HU to the network's input."""
    phases: tuple[Phase, ...]
    """In order."""
    init_from: str = ""
    """Checkpoint or safetensors file whose weights are the start; empty: random weights."""
    organs: tuple[str, ...] = ALL_ORGANS
    """Organ of output channel 1, 2, ..."""
    assume_hu: bool = False
    """Take for HU what does not look like it; a scan that is no CT is refused else."""
    held_out_patients: tuple[str, ...] = ()
    """Never trained on; scored while training."""
    phantoms: int = 0
    """Synthetic scans added, made once in the cache."""
    phantom_weight: float = 0.3
    """How often a phantom is drawn, relative to a real scan."""
    strategy: dict[str, Any] = field(default_factory=lambda: {"kind": "supervised"})
    """How scans without labels help: ``kind`` is a key of `strategies.STRATEGIES`, the rest are
    that strategy's settings."""
    unlabelled: tuple[str, ...] = ()
    """Like `data`, but read without labels; for strategies that learn from bare scans. Cases of
    `data` that have no labels, or none of `organs`, join them."""
    unlabelled_share: float = 0.5
    """Share of patches from scans without labels, where the strategy learns from them."""
    corrected_weight: float = 2.0
    """How often labels that a person corrected are drawn, relative to an expert's: they are where
    the last model was wrong."""
    edited_weight: float = 3.0
    """How much a voxel that a person edited counts in the point-wise loss; the others count 1."""
    lesion_mix: float = 0.0
    """Share of patches into which a lesion of another scan is pasted (`datasets.lesions.mix`)."""
    synthetic_share: float = 0.0
    """Share of patches into which synthetic tumours are painted (`datasets.lesions`). To a network
    that learns lesions they are lesions; to any other a part of their organ, which keeps it from
    leaving tumours out."""
    synthetic: LesionSettings = field(default_factory=LesionSettings)
    """What those tumours are like."""
    centre_on: tuple[str, ...] = ()
    """Organs that class-centred patches are drawn around; empty: those that are learned. A lesion
    network whose lesions are synthetic looks at the organs that may have them."""
    batch_size: int = 1
    """Patches per step over all processes, each a network pass of its own: their gradients are
    averaged, so memory is that of one patch and the step that of a batch."""
    prefetch: int = 2
    """Batches that a thread makes ahead while the network works; 0 makes each when it is needed."""
    centred: float = 0.8
    """Share of class-centred patches; the rest lie anywhere."""
    focal_gamma: float = 0.0
    """0: Dice + cross entropy. Above: Dice + focal loss (FLARE23's winner: 2)."""
    partial_reach_mm: float = PARTIAL_REACH_MM
    """In a case whose lesions are labelled only in part (`Case.partly`), background farther than
    this from a labelled one counts in no term: what nobody labelled there is not punished. Complete
    cases and phantoms teach what else is no lesion."""
    class_balance: float = 0.5
    """Voxels of a class weigh its frequency in the patch to the power of minus this, in the
    point-wise loss; 0 is no weight. Without it a short training never begins with small organs."""
    unannotated: str = "sum"
    """What the background of a case takes from classes that it does not annotate: the ``sum`` of
    their probabilities (the marginal loss), or the ``max`` of their logits and its own (FLARE23's
    second team)."""
    one_set_batches: bool = False
    """Whether all patches of a batch come from cases that annotate the same organs; such a set is
    drawn by its size (FLARE23's second team). False mixes them, as every patch has its own loss."""
    optimiser: str = "adamw"
    """``adamw``, or ``sgd`` with Nesterov's momentum (nnU-Net, and most teams)."""
    momentum: float = 0.99
    """Of ``sgd``."""
    rate_decay: str = "cosine"
    """How the learning rate falls within a phase: ``cosine``, or ``poly``, (1 - done)^.9."""
    weight_decay: float = 1e-2
    """Of the optimiser."""
    warm_up_steps: int = 50
    """Steps of each phase in which the learning rate rises."""
    clip_norm: float = 5.0
    """Longest gradient."""
    ema_decay: float = 0.995
    """Of the running mean of the weights that is validated and exported."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """How patches are changed."""
    precision: str = "auto"
    """``auto``, ``float32``, ``bf16`` or ``fp16``."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``mps``."""
    threads: int = 0
    """CPU threads; 0 is all."""
    seed: int = 0
    """Of every random draw."""
    validate_every: int = 500
    """Steps between scores on held-out scans; 0 is never."""
    validation_scans: int = 3
    """Held-out scans scored while training; the two-fold check after it scores them all."""
    checkpoint_minutes: float = 3.0
    """Minutes of work a kill may cost."""

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        self._check_channels()
        self._check_numbers()
        _require(bool(self.phases), "phases", self.phases, "one or more")
        for phase in self.phases:
            self._check_patch(phase)

    def _check_channels(self) -> None:
        keys = tuple(organ(key).key for key in self.organs)
        _require(keys == self.organs, "organs", self.organs, f"organ keys: {', '.join(keys)}")
        _require(len(set(keys)) == len(keys) > 0, "organs", self.organs, "one or more, each once")
        channels = 1 + len(keys)
        legal = f"{channels}: background and {many(channels - 1, 'organ')}"
        came = self.network.output_channels
        _require(came == channels, "network: output_channels", came, legal)
        keys = tuple(organ(key).key for key in self.centre_on)
        _require(keys == self.centre_on, "centre_on", self.centre_on, f"organ keys: {keys}")

    def _check_numbers(self) -> None:
        limits = {
            "phantoms": (0, math.inf),
            "phantom_weight": (0, math.inf),
            "unlabelled_share": (0, 1),
            "corrected_weight": (0, math.inf),
            "edited_weight": (0, math.inf),
            "lesion_mix": (0, 1),
            "synthetic_share": (0, 1),
            "prefetch": (0, 64),
            "batch_size": (1, math.inf),
            "centred": (0, 1),
            "weight_decay": (0, math.inf),
            "momentum": (0, 0.999999),
            "warm_up_steps": (0, math.inf),
            "ema_decay": (0, 0.999999),
            "seed": (0, 2**32 - 1),
            "validate_every": (0, math.inf),
            "validation_scans": (0, math.inf),
            "checkpoint_minutes": (0, math.inf),
            "class_balance": (0, 1),
            "partial_reach_mm": (0, math.inf),
        }
        for name, (low, high) in limits.items():
            came = getattr(self, name)
            legal = f"{low:g} or more" if high == math.inf else f"{low:g} to {high:g}"
            _require(low <= came <= high, name, came, legal)
        _require(self.clip_norm > 0, "clip_norm", self.clip_norm, "above 0")
        for name, legal_words in WORDS.items():
            came = getattr(self, name)
            _require(came in legal_words, name, came, " or ".join(legal_words))
        # Between 0 and 1 the focal loss's slope is infinite where the network is sure and right.
        fits = self.focal_gamma == 0 or self.focal_gamma >= 1
        _require(fits, "focal_gamma", self.focal_gamma, "0 (cross entropy), or 1 or more")

    def _check_patch(self, phase: Phase) -> None:
        divisor = self.network.divisor
        pairs = list(zip(phase.patch, divisor, strict=True))
        fits = all(n > 0 and n % d == 0 for n, d in pairs)
        _require(fits, "phases: patch", phase.patch, f"multiples of {divisor}")
        fits = min(n // d for n, d in pairs) >= LEAST_DEPTH
        _require(fits, "phases: patch", phase.patch, f"at least {LEAST_DEPTH} times {divisor}")


def _require(fits: bool, where: str, came: object, legal: str) -> None:
    if not fits:
        raise InputError(where, str(came), legal, "Correct the training configuration.")
