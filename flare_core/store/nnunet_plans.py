"""What nnU-Net v2's plans.json says about a network, as fields of our cards.

Read are old plans (UNet_class_name, conv_kernel_sizes, ...) and new ones (architecture). Nothing in
them is imported or called: classes are compared by name, and an unknown one is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flare_core.errors import InputError
from flare_core.store.stage_card import NetworkSpec, NnunetGrids, Normalisation, Triple

ARCHITECTURES = {
    "PlainConvUNet": ("plain_unet", "n_conv_per_stage"),
    "ResidualEncoderUNet": ("residual_encoder_unet", "n_blocks_per_stage"),
}
"""nnU-Net's networks that are known here: our kind, and how its plans name the encoder's depth."""

LAYERS = {
    "conv_op": {"Conv3d"},
    "norm_op": {"InstanceNorm3d"},
    "nonlin": {"LeakyReLU", "ReLU"},
    "dropout_op": {None},
    "block": {None, "BasicBlockD"},
    "bottleneck_channels": {None},
    "stem_channels": {None},
    "nonlin_first": {None, False},
}
"""Options of the architecture and what the networks here can do of each (None: not given)."""

RESAMPLING = {"resample_data_or_seg_to_shape": 3, "resample_torch_fornnunet": 1}
"""nnU-Net's resampling functions that are known here, and their order if nothing is said."""

ACTION = "Choose another configuration or model; only what is listed can be run."


@dataclass(frozen=True)
class NnunetPlan:
    """One configuration of a plans file."""

    network: NetworkSpec
    """What to build."""
    spacing_mm: tuple[float, float, float]
    """Voxel size along the network's axes."""
    patch: Triple
    """Tile, voxels."""
    normalisation: Normalisation
    """From HU to the network's input."""
    transpose: Triple
    """Network axis i is the image's axis transpose[i]."""
    orientation: str | None
    """Axes of the images it was trained on, where the plans tell."""
    grids: NnunetGrids
    """How images and scores are resampled."""


def plan_of(plans: Mapping[str, Any], configuration: str, channels: int) -> NnunetPlan:
    """Read one configuration of a v2 plans file.

    Parameters
    ----------
    plans : mapping
        The parsed plans.json.
    configuration : str
        Such as ``3d_fullres``.
    channels : int
        Output channels of the network.

    Raises
    ------
    InputError
        If it is not there, not for one CT channel in 3D, or needs what is not known here.
    """
    chosen = _configuration(plans, configuration)
    if chosen.get("previous_stage"):
        raise refusal(
            f"configuration {configuration}",
            f"a cascade's second stage, which reads the labels of {chosen['previous_stage']} too",
            "a network that reads the image alone",
            action=f"Import the folder of {chosen['previous_stage']}, or of 3d_fullres.",
        )
    patch = need(chosen, "patch_size", configuration)
    if len(patch) != 3:
        raise refusal(f"configuration {configuration}", f"{len(patch)}D tiles", "a 3D network")
    order = triple(need(plans, "transpose_forward", "plans.json"))
    return NnunetPlan(
        network=network_of(chosen, channels, configuration),
        spacing_mm=floats(need(chosen, "spacing", configuration)),
        patch=triple(patch),
        normalisation=_normalisation(plans, chosen, configuration),
        transpose=order,
        orientation="SAR" if "Reorient" in str(plans.get("image_reader_writer")) else None,
        grids=_grids(chosen, configuration),
    )


def network_of(chosen: Mapping[str, Any], channels: int, where: str) -> NetworkSpec:
    """Return the network of a configuration, whichever way the plans spell it.

    Raises
    ------
    InputError
        If its class or one of its options is not known here.
    """
    name, options = _architecture(chosen, where)
    if name not in ARCHITECTURES:
        legal = ", ".join(ARCHITECTURES)
        raise refusal(f"configuration {where}: architecture", name, legal)
    kind, depth = ARCHITECTURES[name]
    _check_layers(options, where)
    stages = len(need(options, "strides", where))
    norm = options.get("norm_op_kwargs") or {}
    if norm.get("affine") is not True:
        raise refusal(f"configuration {where}: norm_op_kwargs", str(norm), "affine: true")
    return NetworkSpec(
        kind,
        output_channels=channels,
        features_per_stage=_per_stage(need(options, "features_per_stage", where), stages),
        strides=tuple(triple(one) for one in options["strides"]),
        kernel_sizes=tuple(triple(one) for one in need(options, "kernel_sizes", where)),
        convolutions_per_stage_encoder=_per_stage(need(options, depth, where), stages),
        convolutions_per_stage_decoder=_per_stage(
            need(options, "n_conv_per_stage_decoder", where), stages - 1
        ),
        conv_bias=bool(options.get("conv_bias", False)),
        norm_epsilon=float(norm.get("eps", 1e-5)),
        negative_slope=_slope(options),
    )


def need(mapping: Mapping[str, Any], name: str, where: str) -> Any:
    """Return a field of a plans file.

    Raises
    ------
    InputError
        If it is missing.
    """
    if not isinstance(mapping, Mapping) or name not in mapping:
        raise refusal(where, f"no field {name}", f"nnU-Net plans with {name}")
    return mapping[name]


def refusal(argument: str, came: str, legal: str, *, action: str = ACTION) -> InputError:
    """Error about a model that cannot be imported."""
    return InputError(argument, came, legal, action)


def triple(value: Any) -> Triple:
    """Return three whole numbers; one number counts for all axes.

    Examples
    --------
    >>> triple(3), triple([1, 3, 3])
    ((3, 3, 3), (1, 3, 3))
    """
    numbers = [value] * 3 if isinstance(value, int) else list(value)
    if len(numbers) != 3:
        raise refusal("plans", str(value), "three whole numbers, one for each axis")
    z, y, x = (int(n) for n in numbers)
    return z, y, x


def floats(value: Sequence[float]) -> tuple[float, float, float]:
    """Return three real numbers."""
    if len(value) != 3:
        raise refusal("plans", str(value), "three numbers, one for each axis")
    z, y, x = (float(n) for n in value)
    return z, y, x


def ct_normalisation(facts: Mapping[str, Any], where: str) -> Normalisation:
    """Return the normalisation from the foreground's intensity statistics.

    Raises
    ------
    InputError
        If one of them is missing.
    """
    return Normalisation(
        "ct",
        float(need(facts, "percentile_00_5", where)),
        float(need(facts, "percentile_99_5", where)),
        float(need(facts, "mean", where)),
        max(float(facts["std"] if "std" in facts else need(facts, "sd", where)), 1e-8),
    )


def _configuration(plans: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a configuration with what it inherits."""
    known = need(plans, "configurations", "plans.json")
    chain: list[str] = []
    while name not in chain:
        if name not in known:
            raise refusal("configuration", name, ", ".join(known))
        chain.append(name)
        name = known[name].get("inherits_from", name)
    if name != chain[-1]:
        raise refusal(
            "plans.json", f"configurations that inherit in a circle: {chain}", "no circle"
        )
    merged: dict[str, Any] = {}
    for each in reversed(chain):
        merged |= known[each]
    return merged


def _architecture(chosen: Mapping[str, Any], where: str) -> tuple[str, dict[str, Any]]:
    """Return the last part of the network's class and its options, as new plans name them."""
    if "architecture" in chosen:
        described = chosen["architecture"]
        name = str(need(described, "network_class_name", where)).rpartition(".")[2]
        return name, dict(need(described, "arch_kwargs", where))
    name = str(need(chosen, "UNet_class_name", where))
    base = int(need(chosen, "UNet_base_num_features", where))
    most = int(need(chosen, "unet_max_num_features", where))
    strides = need(chosen, "pool_op_kernel_sizes", where)
    _, depth = ARCHITECTURES.get(name, ("", ""))
    return name, {
        "features_per_stage": [min(base * 2**i, most) for i in range(len(strides))],
        "conv_op": "Conv3d",
        "kernel_sizes": need(chosen, "conv_kernel_sizes", where),
        "strides": strides,
        depth: need(chosen, "n_conv_per_stage_encoder", where),
        "n_conv_per_stage_decoder": need(chosen, "n_conv_per_stage_decoder", where),
        "conv_bias": True,
        "norm_op": "InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": "LeakyReLU",
    }


def _check_layers(options: Mapping[str, Any], where: str) -> None:
    for name, known in LAYERS.items():
        value = options.get(name)
        value = value.rpartition(".")[2] if isinstance(value, str) else value
        if value not in known:
            legal = ", ".join(str(each) for each in known if each is not None) or "nothing"
            raise refusal(f"configuration {where}: {name}", str(value), legal)


def _slope(options: Mapping[str, Any]) -> float:
    if str(options.get("nonlin")).endswith(".ReLU") or options.get("nonlin") == "ReLU":
        return 0.0
    return float((options.get("nonlin_kwargs") or {}).get("negative_slope", 0.01))


def _per_stage(value: Any, stages: int) -> tuple[int, ...]:
    return (value,) * stages if isinstance(value, int) else tuple(int(n) for n in value)


def _normalisation(
    plans: Mapping[str, Any], chosen: Mapping[str, Any], where: str
) -> Normalisation:
    schemes = need(chosen, "normalization_schemes", where)
    if schemes != ["CTNormalization"]:
        raise refusal(
            f"configuration {where}: normalization_schemes",
            ", ".join(map(str, schemes)),
            "CTNormalization, once: one CT channel",
        )
    by_channel = plans.get("foreground_intensity_properties_per_channel") or need(
        plans, "foreground_intensity_properties_by_modality", "plans.json"
    )
    return ct_normalisation(need(by_channel, "0", "plans.json: intensities"), "plans.json")


def _grids(chosen: Mapping[str, Any], where: str) -> NnunetGrids:
    """Return how images and scores are resampled."""
    images = _resampling(chosen, "resampling_fn_data", where, default=3)
    scores = _resampling(chosen, "resampling_fn_probabilities", where, default=1)
    legal = "the same force_separate_z and threshold for images and scores"
    if images[2:] != scores[2:]:
        raise refusal(f"configuration {where}: resampling", f"{images} and {scores}", legal)
    return NnunetGrids(
        image_order=images[0],
        image_order_flat=images[1],
        scores_order=scores[0],
        scores_order_flat=scores[1],
        slices_apart=images[2],
        flat_ratio=images[3],
    )


def _resampling(
    chosen: Mapping[str, Any], field: str, where: str, *, default: int
) -> tuple[int, int, bool | None, float]:
    """Return order, order across slices, whether slices are apart, and from which ratio on."""
    name = chosen.get(field, "resample_data_or_seg_to_shape")
    options = chosen.get(f"{field}_kwargs") or {}
    if name not in RESAMPLING or options.get("mode", "linear") != "linear":
        raise refusal(f"configuration {where}: {field}", f"{name} {options}", ", ".join(RESAMPLING))
    order = 1 if RESAMPLING[name] == 1 else int(options.get("order", default))
    apart = options.get("force_separate_z", None if RESAMPLING[name] == 1 else False)
    ratio = float(options.get("separate_z_anisotropy_threshold", 3.0))
    return order, int(options.get("order_z", 0)), apart, ratio
