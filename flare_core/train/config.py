"""Every knob of a training run: unit, default, reason. One JSON file holds them all."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path

from flare_core.datasets.augment import Augmentation
from flare_core.datasets.case import ALL_ORGANS
from flare_core.errors import InputError
from flare_core.store.json_fields import decode, read_json, to_text
from flare_core.store.stage_card import NetworkSpec, Normalisation


LEAST_DEPTH = 3
"""Least size of the coarsest feature map. On a CPU, oneDNN's bf16 weight gradient of a 3 x 3 x 3
convolution over only 2 slices reads memory nobody wrote (seen with torch 2.13, AVX512-BF16; see
benchmarks/onednn_weight_gradient.py); from 3 on it agrees with float32."""


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
    held_out_patients: tuple[str, ...] = ()
    """Never trained on; scored while training."""
    phantoms: int = 0
    """Synthetic scans added, made once in the cache."""
    phantom_weight: float = 0.3
    """How often a phantom is drawn, relative to a real scan."""
    batch_size: int = 1
    """Patches per step."""
    centred: float = 0.8
    """Share of class-centred patches; the rest lie anywhere."""
    focal_gamma: float = 0.0
    """0: Dice + cross entropy. Above: Dice + focal loss (FLARE23's winner: 2)."""
    weight_decay: float = 1e-2
    """Of AdamW."""
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
    """Held-out scans scored while training (the full check is `flare check`)."""
    checkpoint_minutes: float = 3.0
    """Minutes of work a kill may cost."""

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        channels = 1 + len(self.organs)
        _require(
            self.network.output_channels == channels,
            "network: output_channels",
            self.network.output_channels,
            f"{channels}: background and {channels - 1} organs",
        )
        _require(bool(self.phases), "phases", self.phases, "one or more")
        for phase in self.phases:
            fits = all(
                n % d == 0 for n, d in zip(phase.patch, self.network.divisor, strict=True)
            )
            legal = f"multiples of {self.network.divisor}"
            _require(fits, "phases: patch", phase.patch, legal)
            deepest = [n // d for n, d in zip(phase.patch, self.network.divisor, strict=True)]
            legal = f"at least {LEAST_DEPTH} times {self.network.divisor}"
            _require(min(deepest) >= LEAST_DEPTH, "phases: patch", phase.patch, legal)


def load_config(path: str | Path) -> TrainConfig:
    """Read a configuration; paths in `data` are relative to the file's folder.

    Raises
    ------
    InputError
        If the file is missing, not JSON, or a field is unknown, missing or illegal.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(
            "configuration",
            str(file),
            "a JSON file with the fields of TrainConfig",
            "Check the path; benchmarks/default_model/ holds examples.",
        )
    value = read_json(file.read_text("utf-8"), str(file))
    if isinstance(value, dict) and isinstance(value.get("data"), list):
        value["data"] = [str((file.parent / str(folder)).resolve()) for folder in value["data"]]
    return decode(TrainConfig, value, str(file))


def config_text(config: TrainConfig) -> str:
    """Return the configuration as JSON text."""
    return to_text(config, config.name)


def _require(fits: bool, where: str, came: object, legal: str) -> None:
    if not fits:
        raise InputError(where, str(came), legal, "Correct the training configuration.")
