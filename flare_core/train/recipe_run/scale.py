"""A recipe made smaller by stated factors, so that a CPU can run it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from flare_core.errors import InputError
from flare_core.train.config import LEAST_DEPTH, Phase, TrainConfig
from flare_core.train.recipes.nnunet_defaults import stages
from flare_core.train.recipes.recipe import CARD_STAGES, Inference, Recipe, SelfTraining

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Scale:
    """By how much a recipe shrinks; 1 everywhere is the recipe itself."""

    widths: int = 1
    """Channels are divided by this, to multiples of 4 and at least `least_width`."""
    voxels: float = 1.0
    """Patches are divided by this along each axis and voxels grow as much, so that a patch shows
    as many millimetres as before."""
    region_voxels: float = 1.0
    """The same for the region's network, which is cheap and must find small organs."""
    steps: int = 1
    """Steps of each phase are divided by this."""
    least_steps: int = 1
    """Steps that are left to a training in any case, over all its phases."""
    region_steps: int = 0
    """Steps of the region's network, which sees the whole scan at once and learns soonest; 0: as
    for the others."""
    least_width: int = 1
    """Channels that are left in any case."""
    blocks: int = 0
    """Convolutions or blocks of a stage, at most; 0 leaves them."""
    batch: int = 0
    """Patches of a batch, at most; 0 leaves them."""
    folds: int = 0
    """Teachers on different parts of the patients, at most; 0 leaves them."""
    rounds: int = 0
    """Rounds of pseudo labels, at most; 0 leaves them."""
    rate: float = 0.0
    """Learning rate: AdamW's of a short training, in place of the recipe's own; 0 leaves rate and
    optimiser. SGD with a momentum of .99 needs more steps than a CPU has. In 400 steps .01 came
    farther than .003, with convolutions (mean DSC .48 against .30) and attention (.36, .30)."""
    least_certainty: float = 0.0
    """How sure a region network of so few steps must be of an organ; 0 leaves the recipe's. After
    400 steps it gives a liver that is there .82, after 400 at a third of the rate .64."""


SCALES: dict[str, Scale] = {
    "1": Scale(),
    "small": Scale(
        widths=2,
        voxels=3.0,
        region_voxels=1.75,
        steps=250,
        least_steps=1000,
        region_steps=400,
        least_width=8,
        blocks=2,
        batch=1,
        folds=2,
        rounds=2,
        rate=1e-2,
        least_certainty=0.5,
    ),
    "tiny": Scale(
        widths=4,
        voxels=5.0,
        region_voxels=2.0,
        steps=2500,
        least_steps=100,
        least_width=8,
        blocks=1,
        batch=1,
        folds=2,
        rounds=1,
        rate=1e-2,
        least_certainty=0.5,
    ),
}
"""By name; `flare recipes show` and the model card tell them."""


def find_scale(key: str) -> Scale:
    """Return a scale by its name.

    Raises
    ------
    InputError
        If there is none.
    """
    if key not in SCALES:
        raise InputError("--scale", key, ", ".join(SCALES), "1 is the recipe as it is.")
    return SCALES[key]


def scaled(recipe: Recipe, scale: Scale) -> Recipe:
    """Return a recipe with smaller networks, patches and budgets."""
    if scale == Scale():
        return recipe
    trainings = {name: smaller(config, scale) for name, config in recipe.trainings.items()}
    teaching = recipe.self_training
    if teaching is not None:
        folds, rounds = scale.folds or teaching.folds, scale.rounds or teaching.rounds
        teaching = replace(
            teaching, folds=min(teaching.folds, folds), rounds=min(teaching.rounds, rounds)
        )
    stages = dict.fromkeys(CARD_STAGES.values())
    runs = {stage: _inference(recipe.run_of(stage), scale) for stage in stages}
    return replace(_with(recipe, trainings, teaching), inference=runs)


def _inference(run: Inference, scale: Scale) -> Inference:
    """Return how a stage of fewer voxels, less sure, is run."""
    rule = run.skipping
    if rule is not None:
        least = max(1, round(rule.least_voxels / scale.voxels**3))
        run = replace(run, skipping=replace(rule, least_voxels=least))
    return replace(run, least_certainty=scale.least_certainty or run.least_certainty)


def _with(
    recipe: Recipe, trainings: dict[str, TrainConfig], teaching: SelfTraining | None
) -> Recipe:
    return replace(
        recipe,
        teacher=trainings["teacher"],
        region=trainings.get("region"),
        student=trainings.get("student"),
        lesions=trainings.get("lesions"),
        self_training=teaching,
    )


def smaller(config: TrainConfig, scale: Scale) -> TrainConfig:
    """Return a training with a smaller network on fewer, larger voxels and fewer steps."""
    last = config.phases[-1]
    region = config.stage == CARD_STAGES["region"]
    patch = _patch(last.patch, scale.region_voxels if region else scale.voxels)
    spacing = _spacing(last, patch)
    spec = config.network
    strides, kernels = stages(patch, spacing, len(spec.features_per_stage), spec.strides[0])
    count = len(strides)
    network = replace(
        spec,
        features_per_stage=tuple(_width(n, scale) for n in spec.features_per_stage[:count]),
        strides=strides,
        kernel_sizes=kernels,
        convolutions_per_stage_encoder=_fewer(spec.convolutions_per_stage_encoder[:count], scale),
        convolutions_per_stage_decoder=_fewer(
            spec.convolutions_per_stage_decoder[: count - 1], scale
        ),
    )
    total = sum(each.steps for each in config.phases)
    share = min(1.0, max(scale.least_steps / total, 1 / scale.steps))
    if region and scale.region_steps:
        share = min(1.0, scale.region_steps / total)
    config = replace(
        config,
        network=network,
        phases=tuple(_phase(each, patch, share) for each in config.phases),
        batch_size=min(config.batch_size, scale.batch or config.batch_size),
        ema_decay=0.98,
        validate_every=0,
    )
    return _short(config, scale) if scale.rate else config


def _short(config: TrainConfig, scale: Scale) -> TrainConfig:
    """Return a training whose optimiser gets somewhere in few steps."""
    phases = tuple(replace(each, learning_rate=scale.rate) for each in config.phases)
    steps = sum(each.steps for each in phases)
    return replace(
        config, phases=phases, optimiser="adamw", rate_decay="cosine", weight_decay=1e-2,
        clip_norm=5.0, warm_up_steps=min(20, steps // 10), class_balance=0.5, centred=0.8,
    )  # fmt: skip


def _phase(phase: Phase, patch: Triple, share: float) -> Phase:
    return replace(
        phase,
        spacing_mm=_spacing(phase, patch),
        patch=patch,
        steps=max(1, round(phase.steps * share)),
    )


def _patch(patch: Triple, factor: float) -> Triple:
    """Return a patch of fewer voxels, each axis a multiple of 16, 8 or, where short, 4."""

    def shorter(n: int) -> int:
        block = next((b for b in (16, 8) if n / factor >= b * LEAST_DEPTH), 4)
        return max(block * LEAST_DEPTH, block * round(n / factor / block))

    z, y, x = (shorter(n) for n in patch)
    return z, y, x


def _spacing(phase: Phase, patch: Triple) -> tuple[float, float, float]:
    z, y, x = (
        round(mm * n / m, 3) for mm, n, m in zip(phase.spacing_mm, phase.patch, patch, strict=True)
    )
    return z, y, x


def _width(channels: int, scale: Scale) -> int:
    return max(scale.least_width, 4 * round(channels / scale.widths / 4))


def _fewer(counts: Sequence[int], scale: Scale) -> tuple[int, ...]:
    return tuple(min(n, scale.blocks or n) for n in counts)
