"""Names and shapes of a network's tensors: nnU-Net's brought to ours, and ours from a card alone.

No network is built to compare.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from flare_core.models.stage_card import NetworkSpec, Triple

if TYPE_CHECKING:
    from torch import Tensor

WRAPPERS = ("module.", "_orig_mod.")
"""Put before every name by distributed training and by torch.compile."""


def without_duplicates(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of nnU-Net's PlainConvUNet or ResidualEncoderUNet under our names.

    nnU-Net's modules hold some of their parts twice, and a state dict lists both: a block's `conv`
    and `norm` again under `all_modules`, the encoder again under `decoder.encoder`. The tensors are
    the same, so one name of each is enough.

    Examples
    --------
    >>> names = ("decoder.encoder.stem.convs.0.conv.bias", "module.encoder.stem.convs.0.conv.bias")
    >>> list(without_duplicates(dict.fromkeys(names)))
    ['encoder.stem.convs.0.conv.bias']
    """
    plain = {without_wrapper(name): tensor for name, tensor in state.items()}
    return {
        name: tensor
        for name, tensor in plain.items()
        if not name.startswith("decoder.encoder.") and ".all_modules." not in name
    }


def without_wrapper(name: str) -> str:
    """Return a tensor's name without what wrappers put before it."""
    for wrapper in WRAPPERS:
        name = name.removeprefix(wrapper)
    return name


def from_generic_unet(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of nnU-Net v1's Generic_UNet under our names.

    Its deepest stage and all decoder stages are two stacks behind each other, here one. Its
    transposed convolutions and heads have no bias, here a bias of 0.
    """
    found: dict[str, Tensor] = {}
    for _, (name, ours) in sorted(_stacks(state).items()):
        for block in sorted(_numbers(state, name)):
            place = len(_numbers(found, f"{ours}.convs."))
            for part, our_part in (("conv", "conv"), ("instnorm", "norm")):
                for kind in ("weight", "bias"):
                    theirs = f"{name}{block}.{part}.{kind}"
                    if theirs in state:
                        found[f"{ours}.convs.{place}.{our_part}.{kind}"] = state[theirs]
    for ours, theirs, axis in (("transpconvs", "tu", 1), ("seg_layers", "seg_outputs", 0)):
        for i in sorted(_numbers(state, f"{theirs}.")):
            weight = state[f"{theirs}.{i}.weight"]
            zeros = weight.new_zeros(weight.shape[axis] if weight.ndim > axis else 0)
            found[f"decoder.{ours}.{i}.weight"] = weight
            found[f"decoder.{ours}.{i}.bias"] = state.get(f"{theirs}.{i}.bias", zeros)
    return found


def _stacks(state: Mapping[str, Tensor]) -> dict[tuple[str, int, int], tuple[str, str]]:
    """Return the stacks of blocks: (part, stage, stack) -> (their prefix, our stage's name)."""
    found = {}
    for theirs, ours in (
        ("conv_blocks_context", "encoder.stages.{}.0"),
        ("conv_blocks_localization", "decoder.stages.{}"),
    ):
        for name in state:
            if name.startswith(theirs + "."):
                head = name.partition(".blocks.")[0]
                numbers = [int(n) for n in head.split(".")[1:] if n.isdecimal()]
                if numbers:
                    key = (theirs, numbers[0], numbers[1] if len(numbers) > 1 else 0)
                    found[key] = (f"{head}.blocks.", ours.format(numbers[0]))
    return found


def _numbers(state: Mapping[str, Tensor], start: str) -> set[int]:
    """Return the numbers that follow `start` in the names."""
    found = {name[len(start) :].partition(".")[0] for name in state if name.startswith(start)}
    return {int(number) for number in found if number.isdecimal()}


Shape = tuple[int, ...]
Named = Iterator[tuple[str, Shape]]

ONE: Triple = (1, 1, 1)

KINDS = ("plain_unet", "residual_encoder_unet", "stunet")
"""Networks whose tensors are listed here."""

MOST_CHANNELS = 65536
"""As many as a network may have."""


def first_misfit(spec: NetworkSpec, tensors: Mapping[str, Tensor]) -> tuple[str, str] | None:
    """Return (what came, what was wanted) for the first tensor that differs; None if none does."""
    wanted = set()  # filled on the way: plans may state a network of millions of tensors
    for name, shape in named_shapes(spec):
        wanted.add(name)
        legal = f"tensor {name} of shape {shape}"
        if name not in tensors:
            return f"no tensor {name}", legal
        came = tuple(tensors[name].shape)
        if came != shape:
            return f"tensor {name} of shape {came}", legal
        if not bool(tensors[name].isfinite().all()):
            return f"tensor {name} with NaN or infinite values", "finite weights"
    left = next((name for name in tensors if name not in wanted), None)
    if left is None:
        return None
    return f"a tensor {left} too many", f"the {len(wanted)} tensors of a {spec.kind}"


def has_more_numbers(spec: NetworkSpec, most: int) -> bool:
    """Whether the weights of a network are more than so many numbers; a kind not known here is not.

    Examples
    --------
    >>> spec = NetworkSpec("plain_unet", output_channels=2, features_per_stage=(60000, 60000),
    ...     strides=((1, 1, 1),) * 2, kernel_sizes=((3, 3, 3),) * 2,
    ...     convolutions_per_stage_encoder=(60000, 1), convolutions_per_stage_decoder=(1,))
    >>> has_more_numbers(spec, 10**9)
    True
    """
    if spec.kind not in KINDS:
        return False
    factor = math.prod(spec.space_to_depth)
    inner = replace(
        spec,
        input_channels=min(spec.input_channels * factor, MOST_CHANNELS),
        output_channels=min(spec.output_channels * factor, MOST_CHANNELS),
    )
    total = 0
    for _, shape in named_shapes(inner):  # no longer than needed: there may be millions of them
        total += math.prod(shape)
        if total > most:
            return True
    return False


def named_shapes(spec: NetworkSpec) -> Named:
    """Yield name and shape of each tensor of a U-Net, in the order of the network's state dict.

    Examples
    --------
    >>> spec = NetworkSpec("plain_unet", output_channels=2, features_per_stage=(4, 8),
    ...     strides=((1, 1, 1), (1, 2, 2)), kernel_sizes=((1, 3, 3),) * 2,
    ...     convolutions_per_stage_encoder=(1, 1), convolutions_per_stage_decoder=(1,))
    >>> dict(named_shapes(spec))["decoder.transpconvs.0.weight"]
    (8, 4, 1, 2, 2)
    """
    if spec.kind == "stunet":
        yield from _stunet(spec)
        return
    encoder = _residual_encoder if spec.kind == "residual_encoder_unet" else _plain_encoder
    yield from encoder(spec)
    yield from _decoder(spec)


def _block(name: str, channels: tuple[int, int], kernel: Triple, *, bias: bool) -> Named:
    yield f"{name}.conv.weight", (channels[1], channels[0], *kernel)
    if bias:
        yield f"{name}.conv.bias", (channels[1],)
    yield f"{name}.norm.weight", (channels[1],)
    yield f"{name}.norm.bias", (channels[1],)


def _stack(
    name: str, count: int, channels: tuple[int, int], kernel: Triple, spec: NetworkSpec
) -> Named:
    for i in range(count):
        into = channels[0] if i == 0 else channels[1]
        yield from _block(f"{name}.convs.{i}", (into, channels[1]), kernel, bias=spec.conv_bias)


def _plain_encoder(spec: NetworkSpec) -> Named:
    widths = (spec.input_channels, *spec.features_per_stage)
    for s, count in enumerate(spec.convolutions_per_stage_encoder):
        name, channels = f"encoder.stages.{s}.0", (widths[s], widths[s + 1])
        yield from _stack(name, count, channels, spec.kernel_sizes[s], spec)


def _residual_encoder(spec: NetworkSpec) -> Named:
    widths = (spec.features_per_stage[0], *spec.features_per_stage)
    stem = (spec.input_channels, widths[0])
    yield from _stack("encoder.stem", 1, stem, spec.kernel_sizes[0], spec)
    for s, count in enumerate(spec.convolutions_per_stage_encoder):
        for b in range(count):
            stride = spec.strides[s] if b == 0 else ONE
            channels = (widths[s] if b == 0 else widths[s + 1], widths[s + 1])
            yield from _residual(f"encoder.stages.{s}.blocks.{b}", channels, s, stride, spec)


def _residual(
    name: str, channels: tuple[int, int], stage: int, stride: Triple, spec: NetworkSpec
) -> Named:
    kernel, width = spec.kernel_sizes[stage], channels[1]
    yield from _block(f"{name}.conv1", channels, kernel, bias=spec.conv_bias)
    yield from _block(f"{name}.conv2", (width, width), kernel, bias=spec.conv_bias)
    if channels[0] != width:
        behind = 0 if stride == ONE else 1  # a pooling layer comes first
        yield from _block(f"{name}.skip.{behind}", channels, ONE, bias=False)


def _decoder(spec: NetworkSpec) -> Named:
    widths = spec.features_per_stage
    for i, count in enumerate(spec.convolutions_per_stage_decoder):
        below = len(widths) - 1 - i
        here = below - 1
        name = f"decoder.transpconvs.{i}"
        yield f"{name}.weight", (widths[below], widths[here], *spec.strides[below])
        if spec.conv_bias:
            yield f"{name}.bias", (widths[here],)
        channels = (2 * widths[here], widths[here])
        yield from _stack(f"decoder.stages.{i}", count, channels, decoder_kernel(spec, i), spec)
        yield f"decoder.seg_layers.{i}.weight", (spec.output_channels, widths[here], 1, 1, 1)
        yield f"decoder.seg_layers.{i}.bias", (spec.output_channels,)


def _stunet(spec: NetworkSpec) -> Named:
    widths, kernels, last = spec.features_per_stage, spec.kernel_sizes, len(spec.strides) - 1
    into = (spec.input_channels, *widths)
    for s, count in enumerate(spec.convolutions_per_stage_encoder):
        name = f"conv_blocks_context.{s}"
        yield from _stu_stage(name, count, (into[s], widths[s]), kernels[s])
    for i in range(last):
        yield f"upsample_layers.{i}.conv.weight", (widths[last - 1 - i], widths[last - i], *ONE)
        yield f"upsample_layers.{i}.conv.bias", (widths[last - 1 - i],)
    for i, count in enumerate(spec.convolutions_per_stage_decoder):
        width = widths[last - 1 - i]
        name = f"conv_blocks_localization.{i}"
        yield from _stu_stage(name, count, (2 * width, width), kernels[last - 1 - i])
    for i in range(last):
        yield f"seg_outputs.{i}.weight", (spec.output_channels, widths[last - 1 - i], *ONE)
        yield f"seg_outputs.{i}.bias", (spec.output_channels,)


def _stu_stage(name: str, count: int, channels: tuple[int, int], kernel: Triple) -> Named:
    for b in range(count):
        into = channels[0] if b == 0 else channels[1]
        for conv, inside, size in (("conv1", into, kernel), ("conv2", channels[1], kernel)):
            yield f"{name}.{b}.{conv}.weight", (channels[1], inside, *size)
            yield f"{name}.{b}.{conv}.bias", (channels[1],)
            norm = conv.replace("conv", "norm")
            yield f"{name}.{b}.{norm}.weight", (channels[1],)
            yield f"{name}.{b}.{norm}.bias", (channels[1],)
        if b == 0:
            yield f"{name}.{b}.conv3.weight", (channels[1], into, *ONE)
            yield f"{name}.{b}.conv3.bias", (channels[1],)


def decoder_kernel(spec: NetworkSpec, stage: int) -> Triple:
    """Return the kernel of a decoder stage, the deepest first."""
    if spec.decoder_kernel_sizes:
        return spec.decoder_kernel_sizes[stage]
    return spec.kernel_sizes[len(spec.kernel_sizes) - 2 - stage]
