"""One stage of a model: what to build, how to feed it, what its channels mean.

Every dataclass here checks itself, so a stage that exists can be run.
"""

from __future__ import annotations

import math
import re
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from flare_core.anatomy.organs import organ
from flare_core.errors import InputError
from flare_core.json_fields import IN_FILES
from flare_core.wording import many

BACKGROUND = "background"
"""Label of channel 0 where the channels exclude one another (soft-max)."""

OTHER = "other"
"""Label of a channel this project has no organ for; ``other:lung`` keeps its name readable."""

LEAST_STEP = 0.05
"""Of a patch: every voxel is then seen 8000 times, which is more than anybody waits for."""

LONGEST_CAME = 200
"""Letters that an error shows of what came."""

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
"""Names of models and stages; lower case, as some file systems do not tell the cases apart."""

Triple = tuple[int, int, int]
Margin = tuple[float, float]

_WEIGHTS = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}\.safetensors")
_SHA256 = re.compile(r"([0-9a-f]{64})?")
_ORIENTATION = re.compile(r"(?=.*[SI])(?=.*[PA])(?=.*[LR])[SIPALR]{3}")


@dataclass(frozen=True)
class NetworkSpec:
    """Everything needed to build a network; `networks.build_network` reads nothing else."""

    kind: str
    """Key in `networks.NETWORKS`: ``plain_unet``, ``residual_encoder_unet``."""
    _: KW_ONLY
    output_channels: int
    """Channels of the logits, background included where there is one."""
    features_per_stage: tuple[int, ...]
    """Channels at each resolution, finest first; its length is the number of stages."""
    strides: tuple[Triple, ...]
    """Stride (z, y, x) on entering each stage; the first is usually (1, 1, 1)."""
    kernel_sizes: tuple[Triple, ...]
    """Convolution kernel (z, y, x) of each stage."""
    convolutions_per_stage_encoder: tuple[int, ...]
    """Convolutions in each encoder stage; for a residual encoder its blocks."""
    convolutions_per_stage_decoder: tuple[int, ...]
    """Convolutions in each decoder stage, the deepest first; one fewer than the encoder's."""
    input_channels: int = 1
    """Channels of the image, before `space_to_depth` folds voxels into more of them."""
    conv_bias: bool = True
    """Whether convolutions have a bias."""
    separable: bool = False
    """Whether convolutions of more than a voxel are depth-wise ones, then point-wise ones with
    nothing between them (of the plain and residual U-Nets, but for the heads)."""
    norm_epsilon: float = 1e-5
    """Epsilon of the instance normalisation."""
    negative_slope: float = 0.01
    """Slope of the leaky ReLU below zero; 0 is a plain ReLU."""
    space_to_depth: Triple = (1, 1, 1)
    """Block (z, y, x) folded into channels before the network and unfolded from its logits."""
    deep_supervision: bool = False
    """Whether coarse stages have heads too (used by training only)."""
    decoder_kernel_sizes: tuple[Triple, ...] = ()
    """Convolution kernel of each decoder stage, the deepest first; none: the encoder's of the same
    resolution. (nnU-Net v1 takes those of the resolution below.)"""

    foreground_share: float = 1.0
    """Most that an organ is of what the norms of a ``masked_residual_unet`` count: where it is more
    of a tile, they count as much background beyond the tile as is missing."""

    def __post_init__(self) -> None:
        stages = len(self.features_per_stage)
        require(stages >= 2, "network: features_per_stage", self.features_per_stage, "2 or more")
        for name, length in (
            ("strides", stages),
            ("kernel_sizes", stages),
            ("convolutions_per_stage_encoder", stages),
            ("convolutions_per_stage_decoder", stages - 1),
        ):
            came = getattr(self, name)
            legal = f"{length} entries, as features_per_stage has {stages}"
            require(len(came) == length, f"network: {name}", came, legal)
        came = self.decoder_kernel_sizes
        legal = f"none or {stages - 1} entries"
        require(len(came) in (0, stages - 1), "network: decoder_kernel_sizes", came, legal)
        self._check_values()

    def _check_values(self) -> None:
        for name in (
            "output_channels", "input_channels", "features_per_stage", "strides", "kernel_sizes",
            "convolutions_per_stage_encoder", "convolutions_per_stage_decoder", "space_to_depth",
            "decoder_kernel_sizes",
        ):  # fmt: skip
            came = getattr(self, name)
            legal = "whole numbers of 1 to 65536"
            require(all(1 <= n <= 65536 for n in _flat(came)), f"network: {name}", came, legal)
        came = (self.norm_epsilon, self.negative_slope)
        legal = "above 0, and 0 to 1"
        fits = came[0] > 0 and 0 <= came[1] <= 1
        require(fits, "network: norm_epsilon, negative_slope", came, legal)
        share = self.foreground_share
        require(0 < share <= 1, "network: foreground_share", share, "above 0, up to 1")

    @property
    def divisor(self) -> Triple:
        """Voxels (z, y, x) that a patch must be a multiple of.

        Examples
        --------
        >>> NetworkSpec("plain_unet", output_channels=2, features_per_stage=(8, 16),
        ...     strides=((1, 1, 1), (1, 2, 2)), kernel_sizes=((3, 3, 3),) * 2,
        ...     convolutions_per_stage_encoder=(2, 2), convolutions_per_stage_decoder=(2,),
        ...     space_to_depth=(1, 2, 2)).divisor
        (1, 4, 4)
        """
        z, y, x = (
            self.space_to_depth[axis] * math.prod(stride[axis] for stride in self.strides)
            for axis in range(3)
        )
        return z, y, x


@dataclass(frozen=True)
class Normalisation:
    """From HU to what the network sees: clip to [lower, upper], then (value - mean) / std."""

    kind: str
    """``window``: bounds chosen by hand. ``ct``: percentiles and moments of the training set's
    foreground, as nnU-Net's CTNormalization. The arithmetic is the same."""
    lower_hu: float
    """Values below become this."""
    upper_hu: float
    """Values above become this."""
    mean: float
    """Subtracted after clipping (HU)."""
    std: float
    """Divisor after that (HU)."""

    def __post_init__(self) -> None:
        require(self.kind in ("window", "ct"), "normalisation: kind", self.kind, "window or ct")
        bounds = (self.lower_hu, self.upper_hu)
        require(self.lower_hu < self.upper_hu, "normalisation: bounds", bounds, "lower < upper")
        require(self.std > 0, "normalisation: std", self.std, "above 0")


@dataclass(frozen=True)
class NnunetGrids:
    """How nnU-Net brings an image onto the network's grid and the scores back.

    A stage with this runs in the compatible mode: everything around the network as nnU-Net's own
    predictor does it, so that the labels are the same.
    """

    image_order: int = 3
    """Spline order of the image's resampling: 0, 1 or 3."""
    image_order_flat: int = 0
    """The same across the slices of a flat scan."""
    scores_order: int = 1
    """Order of the scores' resampling: 0 or 1."""
    scores_order_flat: int = 0
    """The same across the slices of a flat scan."""
    flat_ratio: float = 3.0
    """A scan is flat if its largest spacing is more than this times its smallest."""
    slices_apart: bool | None = None
    """Whether slices are resampled each for itself; None: if the scan or the network is flat."""
    clip_first: bool = True
    """Whether values are clipped before the resampling (nnU-Net v2) or behind it (v1)."""
    average: str = "logits"
    """What tiles and folds average: ``logits`` (nnU-Net v2) or ``probabilities`` (v1)."""

    def __post_init__(self) -> None:
        orders = (self.image_order, self.image_order_flat)
        require({0, 1, 3}.issuperset(orders), "nnunet: image orders", orders, "0, 1 or 3")
        orders = (self.scores_order, self.scores_order_flat)
        require({0, 1}.issuperset(orders), "nnunet: scores orders", orders, "0 or 1")
        require(self.flat_ratio >= 1, "nnunet: flat_ratio", self.flat_ratio, "1 or more")
        legal = "logits or probabilities"
        require(self.average in ("logits", "probabilities"), "nnunet: average", self.average, legal)


@dataclass(frozen=True)
class Skipping:
    """Which tiles are not run, for speed; what only they would have seen is background.

    A tile's own part is what lies nearer to its centre than to any other tile's: all own parts
    together are the whole, so nothing between two of them is overlooked.
    """

    outside_region: bool = False
    """Whether a tile is left out in whose own part, widened by the stage's margin, the stage
    before found nothing."""
    centre_first: str = ""
    """``any``: of tiles beside one another the middle one runs first, and the others only where it
    finds `least_voxels` (FLARE22's winner). ``edge``: only where it finds them on its edges beside
    the others (FLARE23's third). Empty: all run. With it there is always a middle one."""
    least_voxels: int = 1000
    """Voxels of any organ that the middle tile must find."""

    def __post_init__(self) -> None:
        fits = self.centre_first in ("", "any", "edge")
        require(fits, "skipping: centre_first", self.centre_first, "any, edge, or nothing")
        require(self.least_voxels >= 1, "skipping: least_voxels", self.least_voxels, "1 or more")


@dataclass(frozen=True)
class OrganMask:
    """What a stage sees of a scan: the organs of the stages before it, and one value around them.

    The tiles are cut to the box of what it sees, so a patch may be larger than most organs.
    """

    organs: tuple[str, ...]
    """Keys of the organs, seen as one."""
    outside_hu: float
    """Value of all other voxels (HU)."""
    closing_mm: float = 0.0
    """Gaps and dents narrower than twice this are seen too; holes of a slice always."""
    dents_mm: float = 0.0
    """The same for those which only hold soft tissue, and no other organ: the organ stage may have
    left a tumour out of the organ."""
    soft_hu: tuple[float, float] = (0.0, 200.0)
    """What soft tissue has."""
    widening_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """How far what is around is seen, along the volume's z, y, x."""
    hidden: tuple[str, ...] = ()
    """Keys of organs that are not seen: a gallbladder in its bed is dark as a tumour, and with
    liver all around it in a slice it would be filled as a hole. A small piece beside a larger one
    is taken for part of the organs if it lies in their edge (`segment.organ_mask`)."""

    def __post_init__(self) -> None:
        require(self.organs, "mask: organs", self.organs, "one organ or more")
        for key in (*self.organs, *self.hidden):
            right = _organ_key(key, "mask: organs, hidden")
            require(right == key, "mask: organs, hidden", key, f"the organ key {right}")
        both = set(self.organs) & set(self.hidden)
        require(not both, "mask: hidden", self.hidden, "none of its organs")
        came = (self.closing_mm, self.dents_mm, *self.widening_mm)
        legal = "0 to 100 mm"
        fits = all(0 <= mm <= 100 for mm in came)
        require(fits, "mask: closing_mm, dents_mm, widening_mm", came, legal)
        require(self.soft_hu[0] < self.soft_hu[1], "mask: soft_hu", self.soft_hu, "lower < upper")


@dataclass(frozen=True)
class SecondLook:
    """How a lesion stage that learned dark lesions finds bright ones: by looking once more.

    It is shown its organs with the HU mirrored about their median, if anything in them is bright,
    compact and by itself at all. What it finds then is a lesion if it is bright and compact, and
    nothing as bright goes on around it: a vessel is long, and goes on (`segment.second_look`).
    """

    peak: float = 0.9
    """A bright finding must reach this probability somewhere."""
    least_rise_hu: float = 10.0
    """Its mean is at least this much above the organs' median (HU)."""
    most_beyond: float = 0.25
    """What is as bright and hangs together with it, but lies away from it, has at most this share
    of its volume."""

    def __post_init__(self) -> None:
        require(0 < self.peak < 1, "second_look: peak", self.peak, "above 0 and below 1")
        came = self.least_rise_hu
        require(0 < came <= 1000, "second_look: least_rise_hu", came, "above 0, up to 1000 HU")
        came = self.most_beyond
        require(0 <= came <= 100, "second_look: most_beyond", came, "0 to 100")


@dataclass(frozen=True)
class ContrastLook:
    """How a lesion stage that learned scans with contrast finds large lesions without it.

    It is shown its organs once more, HU spread about their median by as much as that is lower than
    with contrast (`segment.contrast_look`).
    """

    median_hu: float = 110.0
    """Median of the organs with contrast."""
    least_hu: float = 30.0
    """Nobody looks where it is below this: that is fat."""
    below_hu: float = 95.0
    """Nor where it is this or more: contrast enough."""
    most: float = 2.0
    """Differences grow at most so many times."""
    peak: float = 0.96
    """A finding must reach this probability somewhere."""
    least_ml: float = 20.0
    """A smaller finding, grown, is none: noise and vessels grow, too."""

    def __post_init__(self) -> None:
        where = "contrast_look"
        came = (self.least_hu, self.below_hu, self.median_hu)
        fits = 0 < came[0] < came[1] <= came[2] <= 1000
        legal = "0 < least_hu < below_hu <= median_hu <= 1000 HU"
        require(fits, f"{where}: least_hu, below_hu, median_hu", came, legal)
        require(1 < self.most <= 10, f"{where}: most", self.most, "above 1, up to 10")
        require(0 < self.peak < 1, f"{where}: peak", self.peak, "above 0 and below 1")
        require(0 <= self.least_ml <= 1000, f"{where}: least_ml", self.least_ml, "0 to 1000 mL")


@dataclass(frozen=True)
class WeightsFile:
    """One safetensors file of a package."""

    file: str
    """File name inside the package folder."""
    sha256: str = ""
    """SHA-256 of the file, 64 lower-case hex digits; empty until `package.write_package`."""
    size_bytes: int = 0
    """Size of the file; 0 if the card does not say."""

    def __post_init__(self) -> None:
        legal = "a plain name of letters, digits, . _ - that ends in .safetensors"
        require(_WEIGHTS.fullmatch(self.file), "weights", self.file, legal)
        require(_SHA256.fullmatch(self.sha256), "sha256", self.sha256, "64 lower-case hex digits")
        require(self.size_bytes >= 0, "size_bytes", self.size_bytes, "0 or more")


@dataclass(frozen=True)
class StageCard:
    """One network with all that is needed to run it.

    `spacing_mm`, `patch` and the network's strides and kernels are in the network's axis order,
    which is z, y, x unless `transpose` says otherwise (the same rule as in nnU-Net's plans).
    """

    name: str
    """``localiser``, ``organs``, ``lesions``, ...; unique in the card."""
    _: KW_ONLY
    network: NetworkSpec
    """What to build."""
    weights: str
    """File name of the weights."""
    sha256: str = ""
    """SHA-256 of that file; empty until `package.write_package` fills it in."""
    size_bytes: int = 0
    """Size of that file; 0 if the card does not say."""
    folds: tuple[WeightsFile, ...] = ()
    """Weights of further folds, whose probabilities are averaged with the first's."""
    spacing_mm: tuple[float, float, float]
    """Voxel size the network works at."""
    patch: Triple
    """Tile in voxels."""
    normalisation: Normalisation
    """From HU to the network's input."""
    labels: tuple[str, ...]
    """Organ key of each output channel. Channel 0 is ``background``, except with `regions`, where
    there is no background channel. ``other`` or ``other:name`` is a structure not reported."""
    tile_step: float = field(default=0.8, metadata={IN_FILES: "step"})
    """Distance between tiles as a fraction of the patch."""
    regions: bool = False
    """True: each channel is a sigmoid of its own, and a later channel paints over an earlier."""
    transpose: Triple = (0, 1, 2)
    """Network axis i is volume axis transpose[i] (nnU-Net's transpose_forward)."""
    orientation: str = "SPL"
    """Where the volume's axes z, y, x point before `transpose`: S or I, P or A, L or R, in any
    order; ``SPL`` is this project's canonical one, ``SAR`` the reversed RAS of NIfTI tools."""
    interpolation: str = "linear"
    """How the image is resampled: ``linear`` or ``cubic`` (nnU-Net's order 3)."""
    nnunet: NnunetGrids | None = None
    """Set: the stage runs in the compatible mode, as nnU-Net's own predictor would run it."""
    mirror_axes: tuple[int, ...] = ()
    """Network axes that test-time mirroring may flip, because training did."""
    margin_mm: tuple[Margin, Margin, Margin] = ((20.0, 20.0), (20.0, 20.0), (20.0, 20.0))
    """Added around the box that the stage before found: (low, high) along volume z, y, x."""
    whole: bool = False
    """True: the region, whatever its size, is resized to one patch (FLARE23's fourth team);
    `spacing_mm` is then what training saw on average."""
    skipping: Skipping | None = None
    """Which tiles are not run; None: all are, but those of air."""
    least_certainty: float = 0.85
    """Localiser: mean probability of an organ that is really there. Livers, spleens and kidneys of
    real scans and phantoms have .91 to .96 with a network trained to its end; what it found in
    chests, pelves and a block of water had at most .83."""
    mask: OrganMask | None = None
    """Set: the stage sees these organs alone."""
    threshold: float = 0.5
    """Lesion stage: the probability above which a voxel is a lesion; chosen on the folds."""
    peak: float = 0.0
    """Lesion stage: a finding must reach this probability somewhere; 0 asks for nothing. It keeps
    the border where `threshold` draws it, and leaves out what the network only suspects."""
    least_ml: float = 0.0
    """Lesion stage: a smaller finding is none."""
    growth_mm: float = 0.0
    """Lesion stage with a `mask` and `regions`: how far a lesion grows at most, to where HU are
    half way to its organs' (`segment.lesion_edges`); 0: not at all."""
    second_look: SecondLook | None = None
    """Lesion stage with a `mask` and `regions`: whether it looks again for bright lesions."""
    contrast_look: ContrastLook | None = None
    """Lesion stage with a `mask` and `regions`: whether it looks again without contrast."""
    hosts: tuple[str, ...] = ()
    """Lesion stage: keys of the organs whose lesions it finds; a finding that is part of none of
    them is none. Empty: wherever it finds them."""
    use: str = ""
    """What the stage is for, in words."""

    def __post_init__(self) -> None:
        where = f"stage {self.name}"
        require(NAME.fullmatch(self.name), "stage: name", self.name, "a-z, 0-9, _ and -")
        self._check_labels(f"{where}: labels")
        self._check_grid(where)
        self._check_axes(where)
        files = [weights.file.lower() for weights in self.weights_files]
        require(len(set(files)) == len(files), f"{where}: folds", files, "different file names")

    def _check_labels(self, where: str) -> None:
        channels = self.network.output_channels
        legal = f"{many(channels, 'label')}, as the network has {many(channels, 'output channel')}"
        require(len(self.labels) == channels, where, self.labels, legal)
        first = () if self.regions else self.labels[:1]
        require(first in ((), (BACKGROUND,)), where, self.labels, f"{BACKGROUND} first")
        for label in self.labels[len(first) :]:
            if not _is_other(label):
                key = _organ_key(label, where)
                require(key == label, where, label, f"the organ key {key}")
        keys = [key for _, key in self.organ_channels]
        require(len(set(keys)) == len(keys), where, self.labels, "each organ once")
        for host in self.hosts:
            right = _organ_key(host, f"stage {self.name}: hosts")
            require(right == host, f"stage {self.name}: hosts", host, f"the organ key {right}")

    def _check_grid(self, where: str) -> None:
        fits = all(0.05 <= mm <= 50 for mm in self.spacing_mm)
        require(fits, f"{where}: spacing_mm", self.spacing_mm, ".05 to 50 mm")
        divisor = self.network.divisor
        fits = all(0 < n <= 4096 and n % d == 0 for n, d in zip(self.patch, divisor, strict=True))
        legal = f"positive multiples of {divisor}, up to 4096"
        require(fits, f"{where}: patch", self.patch, legal)
        legal = f"{LEAST_STEP} to 1"
        require(LEAST_STEP <= self.tile_step <= 1, f"{where}: step", self.tile_step, legal)
        fits = all(0 <= mm <= 1000 for mm in _flat(self.margin_mm))
        require(fits, f"{where}: margin_mm", self.margin_mm, "0 to 1000 mm")
        legal = "0 to below 1"
        require(0 <= self.least_certainty < 1, f"{where}: certainty", self.least_certainty, legal)
        alone = self.nnunet is None or not (self.whole or self.skipping)
        require(alone, f"{where}: nnunet", "with whole or skipping", "neither, as nnU-Net has none")
        legal = "above 0 and below 1"
        require(0 < self.threshold < 1, f"{where}: threshold", self.threshold, legal)
        require(0 <= self.peak < 1, f"{where}: peak", self.peak, "0 to below 1")
        require(0 <= self.least_ml <= 1000, f"{where}: least_ml", self.least_ml, "0 to 1000 mL")
        shown = self.mask is not None and self.regions
        for name in ("second_look", "contrast_look"):
            fits = getattr(self, name) is None or shown
            require(fits, f"{where}: {name}", "one", "none without a mask and regions")
        require(0 <= self.growth_mm <= 100, f"{where}: growth_mm", self.growth_mm, "0 to 100 mm")
        fits = self.growth_mm == 0 or shown
        legal = "0 without a mask and regions"
        require(fits, f"{where}: growth_mm", self.growth_mm, legal)

    def _check_axes(self, where: str) -> None:
        fits = sorted(self.transpose) == [0, 1, 2]
        require(fits, f"{where}: transpose", self.transpose, "an order of 0, 1, 2")
        fits = bool(_ORIENTATION.fullmatch(self.orientation))
        legal = "one letter of each of SI, PA, LR"
        require(fits, f"{where}: orientation", self.orientation, legal)
        fits = self.interpolation in ("linear", "cubic")
        require(fits, f"{where}: interpolation", self.interpolation, "linear or cubic")
        fits = len(set(self.mirror_axes)) == len(self.mirror_axes) and {0, 1, 2}.issuperset(
            self.mirror_axes
        )
        require(fits, f"{where}: mirror_axes", self.mirror_axes, "some of 0, 1, 2")

    @property
    def organ_channels(self) -> tuple[tuple[int, str], ...]:
        """(channel, organ key) of the channels that are organs of this project."""
        return tuple(
            (channel, label)
            for channel, label in enumerate(self.labels)
            if label != BACKGROUND and not _is_other(label)
        )

    @property
    def weights_files(self) -> tuple[WeightsFile, ...]:
        """All weights of the stage, the first fold first."""
        return (WeightsFile(self.weights, self.sha256, self.size_bytes), *self.folds)


def require(fits: object, where: str, came: object, legal: str) -> None:
    """Raise an `InputError` about a card unless `fits`."""
    if not fits:
        text = str(came) or "nothing"
        text = text if len(text) <= LONGEST_CAME else f"{text[: LONGEST_CAME - 3]}..."
        raise InputError(where, text, legal, "Correct the model card or fetch it again.")


def _is_other(label: str) -> bool:
    return label == OTHER or label.startswith(OTHER + ":")


def _organ_key(label: str, where: str) -> str:
    """Key of an organ; its error names the place in the card and the nearest organ."""
    try:
        return organ(label).key
    except InputError as error:
        raise InputError(where, *error.parts[1:]) from error


def _flat(value: Any) -> list[Any]:
    """Numbers of nested tuples, in order."""
    if isinstance(value, (tuple, list)):
        return [number for item in value for number in _flat(item)]
    return [value]
