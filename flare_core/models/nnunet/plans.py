"""What nnU-Net v2's plans.json says about a network, as fields of our cards.

Read are old plans (UNet_class_name, conv_kernel_sizes, ...) and new ones (architecture). Nothing in
them is imported or called: classes are compared by name, and an unknown one is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

from flare_core.models.nnunet.fields import (
    fields,
    floats,
    items,
    need,
    real,
    refusal,
    triple,
    whole,
)
from flare_core.models.stage_card import NetworkSpec, NnunetGrids, Normalisation, Triple

ARCHITECTURES = {
    "PlainConvUNet": ("plain_unet", "n_conv_per_stage"),
    "ResidualEncoderUNet": ("residual_encoder_unet", "n_blocks_per_stage"),
}
"""nnU-Net's networks that are known here: our kind, and how its plans name the encoder's depth."""

LAYERS: Mapping[str, Set[str | bool | None]] = {
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

MODES = {"mode": "linear", "aniso_axis_mode": "nearest-exact"}
"""How torch interpolates for nnU-Net: within slices, and across them where they are apart."""


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
    patch = items(need(chosen, "patch_size", configuration), f"{configuration}: patch_size")
    if len(patch) != 3:
        raise refusal(f"configuration {configuration}", f"{len(patch)}D tiles", "a 3D network")
    order = triple(need(plans, "transpose_forward", "plans.json"), "plans.json: transpose_forward")
    return NnunetPlan(
        network=network_of(chosen, channels, configuration),
        spacing_mm=floats(need(chosen, "spacing", configuration), f"{configuration}: spacing"),
        patch=triple(patch, f"{configuration}: patch_size"),
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
    strides = items(need(options, "strides", where), f"{where}: strides")
    kernels = items(need(options, "kernel_sizes", where), f"{where}: kernel_sizes")
    norm = fields(options.get("norm_op_kwargs"), f"{where}: norm_op_kwargs")
    if norm.get("affine") is not True:
        raise refusal(f"configuration {where}: norm_op_kwargs", str(norm), "affine: true")
    return NetworkSpec(
        kind,
        output_channels=channels,
        features_per_stage=_per_stage(options, "features_per_stage", len(strides), where),
        strides=tuple(triple(one, f"{where}: strides") for one in strides),
        kernel_sizes=tuple(triple(one, f"{where}: kernel_sizes") for one in kernels),
        convolutions_per_stage_encoder=_per_stage(options, depth, len(strides), where),
        convolutions_per_stage_decoder=_per_stage(
            options, "n_conv_per_stage_decoder", len(strides) - 1, where
        ),
        conv_bias=bool(options.get("conv_bias", False)),
        norm_epsilon=real(norm.get("eps", 1e-5), f"{where}: eps"),
        negative_slope=_slope(options, where),
    )


def ct_normalisation(facts: Mapping[str, Any], where: str) -> Normalisation:
    """Return the normalisation from the foreground's intensity statistics.

    Raises
    ------
    InputError
        If one of them is missing.
    """
    known = fields(facts, where)
    names = ("percentile_00_5", "percentile_99_5", "mean", "std" if "std" in known else "sd")
    lower, upper, mean, std = (real(need(known, n, where), f"{where}: {n}") for n in names)
    return Normalisation("ct", lower, upper, mean, max(std, 1e-8))


def _configuration(plans: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a configuration with what it inherits."""
    known = {
        each: fields(content, f"configuration {each}")
        for each, content in fields(
            need(plans, "configurations", "plans.json"), "plans.json: configurations"
        ).items()
    }
    chain: list[str] = []
    while name not in chain:
        if name not in known:
            raise refusal("configuration", name, ", ".join(known))
        chain.append(name)
        name = str(known[name].get("inherits_from", name))
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
        return name, fields(need(described, "arch_kwargs", where), f"{where}: arch_kwargs")
    name = str(need(chosen, "UNet_class_name", where))
    base, most = (
        whole(need(chosen, field, where), f"{where}: {field}")
        for field in ("UNet_base_num_features", "unet_max_num_features")
    )
    strides = items(need(chosen, "pool_op_kernel_sizes", where), f"{where}: pool_op_kernel_sizes")
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
        if isinstance(value, (list, dict)) or value not in known:
            legal = ", ".join(str(each) for each in known if each is not None) or "nothing"
            raise refusal(f"configuration {where}: {name}", str(value), legal)


def _slope(options: Mapping[str, Any], where: str) -> float:
    if str(options.get("nonlin")).rpartition(".")[2] == "ReLU":
        return 0.0
    stated = fields(options.get("nonlin_kwargs"), f"{where}: nonlin_kwargs")
    return real(stated.get("negative_slope", 0.01), f"{where}: negative_slope")


def _per_stage(options: Mapping[str, Any], name: str, stages: int, where: str) -> tuple[int, ...]:
    """Return a number for each stage; one number counts for all."""
    value = need(options, name, where)
    several = [value] * stages if isinstance(value, int) else items(value, f"{where}: {name}")
    return tuple(whole(each, f"{where}: {name}") for each in several)


def _normalisation(
    plans: Mapping[str, Any], chosen: Mapping[str, Any], where: str
) -> Normalisation:
    schemes = need(chosen, "normalization_schemes", where)
    if schemes != ["CTNormalization"]:
        raise refusal(
            f"configuration {where}: normalization_schemes",
            str(schemes),
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
    name = str(chosen.get(field, "resample_data_or_seg_to_shape"))
    options = fields(chosen.get(f"{field}_kwargs"), f"{where}: {field}_kwargs")
    if name not in RESAMPLING or any(options.get(k, known) != known for k, known in MODES.items()):
        raise refusal(f"configuration {where}: {field}", f"{name} {options}", ", ".join(RESAMPLING))
    said = f"{where}: {field}_kwargs"
    order = 1 if RESAMPLING[name] == 1 else whole(options.get("order", default), said)
    apart = options.get("force_separate_z", None if RESAMPLING[name] == 1 else False)
    if apart is not None and not isinstance(apart, bool):
        raise refusal(said, f"force_separate_z {apart}", "true, false or null")
    ratio = real(options.get("separate_z_anisotropy_threshold", 3.0), said)
    return order, whole(options.get("order_z", 0), said), apart, ratio
