"""A model folder of nnU-Net v1: plans.pkl, fold_X/model_final_checkpoint.model and its .pkl.

Trainers of v1 often change the network that the plans describe (FLARE22's winner has one stage
fewer), so it is read off the weights: their shapes say everything but the strides of STU-Net.

A pickle names functions and calls them; none of them is called here. `read_plans_pickle` knows a
dozen names, all of plain containers and numpy's numbers, and answers each with a class of its own
that only keeps values; any other name ends the reading. So even numpy is not called, and no
stranger's code can be.
"""

from __future__ import annotations

import codecs
import collections
import io
import pickle
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flare_core.errors import InputError
from flare_core.models.nnunet.checkpoint import read_checkpoint
from flare_core.models.nnunet.fields import fields, floats, items, need, refusal, triple, whole
from flare_core.models.nnunet.labels import Channels, LabelMap, mapped
from flare_core.models.nnunet.plans import NnunetPlan, ct_normalisation
from flare_core.models.nnunet.shapes import from_generic_unet, without_wrapper
from flare_core.models.pickle_size import check_pickle
from flare_core.models.stage_card import NetworkSpec, NnunetGrids, Triple

if TYPE_CHECKING:
    from torch import Tensor

MAX_BYTES = 32 * 2**20
"""A plans file lists the training cases; that of FLARE22's winner has one megabyte."""

MOST_VALUES = 4_000_000
"""Numbers, texts and containers of a plans file, each counted as often as it is held."""

MOST_AXES = 8
"""Axes of an array."""

FORMATS = {"f2": "e", "f4": "f", "f8": "d", "b1": "?", "i1": "b", "i2": "h", "i4": "i", "i8": "q",
           "u1": "B", "u2": "H", "u4": "I", "u8": "Q"}  # fmt: skip
"""numpy's names of number types and those of the struct module."""


def read_plans_pickle(path: Path) -> Any:
    """Return what a pickle of plain containers and numbers holds; arrays come as lists.

    Raises
    ------
    InputError
        If it cannot be read or names anything else.
    """
    action = "Do not use this model unless you trust it and can convert it elsewhere."
    legal = "a pickle of numbers, text, lists and dicts"
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(str(path), "a larger file", f"at most {MAX_BYTES} bytes", action)
        data = path.read_bytes()
        check_pickle(io.BytesIO(data), most_values=MOST_VALUES, most_steps=MOST_VALUES)
        return _plain(_Reader(io.BytesIO(data)).load())
    except _Refused as error:
        came = f"a pickle that calls {error}; nothing of it was executed"
        raise InputError(str(path), came, legal, action) from error
    except InputError:
        raise
    except BROKEN as error:
        raise InputError(str(path), f"not readable: {error}", legal, action) from error


BROKEN = (
    OSError, EOFError, pickle.UnpicklingError, ValueError, TypeError, KeyError, IndexError,
    AttributeError, struct.error, OverflowError, MemoryError, RecursionError, NotImplementedError,
)  # fmt: skip
"""What a damaged pickle raises."""


class _Refused(Exception):
    """A name that is not known here."""


class _Type:
    """In place of numpy.dtype."""

    def __init__(self, code: str = "f8", *rest: object) -> None:
        del rest
        self.code, self.order = code, "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = ">" if state[1] == ">" else "<"

    def numbers(self, data: bytes) -> list[Any]:
        """Return the numbers that bytes hold."""
        form = FORMATS[self.code]
        count = len(data) // struct.calcsize(form)
        return list(struct.unpack(f"{self.order}{count}{form}", data))


class _Array:
    """In place of numpy.ndarray."""

    def __init__(self, *ignored: object) -> None:
        del ignored
        self.values: list[Any] = []

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, data = state
        flat = list(data) if isinstance(data, list) else kind.numbers(data)
        if len(shape) > MOST_AXES:
            raise ValueError(f"an array of {len(shape)} axes")
        if fortran and len(shape) > 1:
            raise ValueError("an array in column order")
        for n in reversed(shape[1:]):
            flat = [flat[i : i + n] for i in range(0, len(flat), n)] if n else []
        self.values = flat


def _array(*ignored: object) -> _Array:
    del ignored
    return _Array()


def _scalar(kind: _Type, data: Any = b"") -> Any:
    if isinstance(data, str):
        data = data.encode("latin1")
    return kind.numbers(data)[0] if isinstance(data, bytes) else data


def _from_buffer(data: bytes, kind: _Type, shape: tuple[int, ...], order: str) -> _Array:
    """In place of numpy's way of reading an array in pickle protocol 5."""
    made = _Array()
    made.__setstate__((1, shape, kind, order == "F", bytes(data)))
    return made


def _no_bytes(*arguments: object) -> bytes:
    """In place of bytes: old pickles write none at all so; with a number it would be a bomb."""
    if arguments:
        raise _Refused("bytes with arguments")
    return b""


def _encoded(text: str, coding: str = "latin1") -> bytes:
    """In place of _codecs.encode, by which old pickles write bytes."""
    if coding not in ("latin1", "latin-1"):
        raise _Refused(f"_codecs.encode to {coding}")
    return codecs.latin_1_encode(text)[0]


KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("builtins", "set"): set,
    ("builtins", "bytes"): _no_bytes,
    ("_codecs", "encode"): _encoded,
    ("numpy", "dtype"): _Type,
    ("numpy", "ndarray"): _Array,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
}
"""Everything that a pickle may name, and what it gets."""


class _Reader(pickle.Unpickler):  # noqa: S301 (finds nothing but what KNOWN lists)
    def find_class(self, module: str, name: str) -> Any:
        """Return what a name stands for."""
        module = {"__builtin__": "builtins"}.get(module, module)
        if (module, name) not in KNOWN:
            raise _Refused(f"{module}.{name}")
        return KNOWN[module, name]


def _key(key: Any) -> Any:
    """Return a key of a dict; old plans have some of several labels, which become text."""
    return str(_plain(key)) if isinstance(key, tuple) else key


def _plain(value: Any) -> Any:
    """Return the same with lists for arrays."""
    if isinstance(value, _Array):
        return _plain(value.values)
    if isinstance(value, dict):
        return {_key(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


ONE: Triple = (1, 1, 1)

GRIDS = NnunetGrids(clip_first=False, average="probabilities")
"""How v1 resamples: clipped behind it, and probabilities averaged and brought back."""

Weights = Mapping[str, "Tensor"]


def plan_of_v1(plans: Mapping[str, Any], stage: int, weights: Weights, classes: int) -> NnunetPlan:
    """Read one stage of a v1 plans file and the network off the weights.

    Parameters
    ----------
    plans : mapping
        From `read_plans_pickle`.
    stage : int
        Resolution, 0 the lowest.
    weights : mapping of str to Tensor
        By nnU-Net's names, without wrappers.
    classes : int
        Output channels, background included.

    Raises
    ------
    InputError
        If it is not for one CT channel in 3D, or the network is not known here.
    """
    per_stage = fields(need(plans, "plans_per_stage", "plans.pkl"), "plans.pkl: plans_per_stage")
    chosen = need(per_stage, str(stage), "plans.pkl: stages")
    _check_one_ct(plans)
    patch = items(need(chosen, "patch_size", "plans.pkl"), "plans.pkl: patch_size")
    if len(patch) != 3:
        raise refusal("plans.pkl", f"{len(patch)}D tiles", "a 3D network")
    properties = need(plans, "dataset_properties", "plans.pkl")
    intensities = fields(
        need(properties, "intensityproperties", "plans.pkl"), "plans.pkl: intensityproperties"
    )
    pools = need(chosen, "pool_op_kernel_sizes", "plans.pkl")
    transpose = plans.get("transpose_forward")  # old plans have none
    return NnunetPlan(
        network=network_in(weights, classes, items(pools, "plans.pkl: pool_op_kernel_sizes")),
        spacing_mm=floats(need(chosen, "current_spacing", "plans.pkl"), "plans.pkl: spacing"),
        patch=triple(patch, "plans.pkl: patch_size"),
        normalisation=ct_normalisation(
            need(intensities, "0", "plans.pkl: intensities"), "plans.pkl"
        ),
        transpose=triple([0, 1, 2] if transpose is None else transpose, "plans.pkl: transpose"),
        orientation=None,
        grids=GRIDS,
    )


def channels_of_v1(
    plans: Mapping[str, Any], dataset: Mapping[str, Any] | None, label_map: LabelMap | None
) -> Channels:
    """Return the labels: names from a dataset.json, if there is one, else numbers.

    Raises
    ------
    InputError
        If nothing maps to an organ; without names a label map must say.
    """
    where = "plans.pkl: all_classes"
    values = sorted(whole(v, where) for v in items(need(plans, "all_classes", "plans.pkl"), where))
    named = fields((dataset or {}).get("labels"), "dataset.json: labels")
    names = ["background", *(str(named.get(str(v), f"label {v}")) for v in values)]
    return mapped(names, [0, *values], label_map)


def stage_of(path: Path, plans: Mapping[str, Any]) -> tuple[int, str]:
    """Return which stage of the plans a checkpoint is for, and the trainer's name.

    The file beside the checkpoint tells; without it the folders' names do.

    Raises
    ------
    InputError
        If neither does.
    """
    beside = path.with_name(path.name + ".pkl")
    if beside.is_file():
        facts = read_plans_pickle(beside)
        arguments = items(need(facts, "init", str(beside)), f"{beside}: init")
        if len(arguments) > 5 and arguments[5] is not None:
            return whole(arguments[5], f"{beside}: stage"), str(facts.get("name", ""))
    where = "plans.pkl: plans_per_stage"
    stated = need(plans, "plans_per_stage", "plans.pkl")
    stages = sorted(whole(key, where) for key in (stated if isinstance(stated, Mapping) else ()))
    if not stages:
        raise refusal(where, str(stated)[:80], "one stage or more")
    if "3d_lowres" in path.parts:
        return stages[0], ""
    if "3d_fullres" in path.parts or len(stages) == 1:
        return stages[-1], ""
    raise refusal(str(path), f"stages {stages}", f"{beside.name} beside it, which says the stage")


def weights_of_v1(path: Path) -> dict[str, Tensor]:
    """Return a v1 checkpoint's weights by nnU-Net's names.

    Raises
    ------
    InputError
        If it cannot be read or holds more than numbers.
    """
    found = read_checkpoint(path, "state_dict").weights
    return {without_wrapper(name): tensor.float() for name, tensor in found.items()}


def network_in(weights: Weights, classes: int, pools: Sequence[Any]) -> NetworkSpec:
    """Return the network that weights of v1 belong to.

    Raises
    ------
    InputError
        If it is neither nnU-Net's Generic_UNet nor STU-Net.
    """
    legal = "Generic_UNet with convolutions up and down, STUNet"
    try:
        if "conv_blocks_context.0.0.conv1.weight" in weights:
            return _stunet(weights, classes, pools)
        if {"conv_blocks_context.0.blocks.0.conv.weight", "tu.0.weight"} <= set(weights):
            return _generic_unet(weights, classes)
    except (KeyError, IndexError) as error:  # a part of it is missing, or has too few axes
        raise refusal("architecture", f"weights without {error}", legal) from error
    raise refusal("architecture", f"weights such as {next(iter(weights), 'none')}", legal)


def converted(weights: Weights, spec: NetworkSpec) -> dict[str, Tensor]:
    """Return weights of v1 under our names."""
    return dict(weights) if spec.kind == "stunet" else from_generic_unet(weights)


def _generic_unet(weights: Weights, classes: int) -> NetworkSpec:
    ours = from_generic_unet(weights)
    stages = 1 + sum(name.startswith("tu.") and name.endswith(".weight") for name in weights)
    first = [ours[f"encoder.stages.{s}.0.convs.0.conv.weight"] for s in range(stages)]
    ups = [ours[f"decoder.transpconvs.{i}.weight"] for i in range(stages - 1)]
    down = [ours[f"decoder.stages.{i}.convs.0.conv.weight"] for i in range(stages - 1)]
    return NetworkSpec(
        "plain_unet",
        output_channels=classes,
        features_per_stage=tuple(int(w.shape[0]) for w in first),
        strides=(ONE, *(triple(list(w.shape[2:])) for w in reversed(ups))),
        kernel_sizes=tuple(triple(list(w.shape[2:])) for w in first),
        convolutions_per_stage_encoder=tuple(
            _count(ours, f"encoder.stages.{s}.0.convs.") for s in range(stages)
        ),
        convolutions_per_stage_decoder=tuple(
            _count(ours, f"decoder.stages.{i}.convs.") for i in range(stages - 1)
        ),
        decoder_kernel_sizes=tuple(triple(list(w.shape[2:])) for w in down),
    )


def _stunet(weights: Weights, classes: int, pools: Sequence[Any]) -> NetworkSpec:
    stages = _count(weights, "conv_blocks_context.", ".0.conv1.weight")
    first = [weights[f"conv_blocks_context.{s}.0.conv1.weight"] for s in range(stages)]
    strides = [triple(pool) for pool in pools][: stages - 1]
    strides += [ONE] * (stages - 1 - len(strides))  # STU-Net's trainer fills up so as well
    return NetworkSpec(
        "stunet",
        output_channels=classes,
        features_per_stage=tuple(int(w.shape[0]) for w in first),
        strides=(ONE, *strides),
        kernel_sizes=tuple(triple(list(w.shape[2:])) for w in first),
        convolutions_per_stage_encoder=tuple(
            _count(weights, f"conv_blocks_context.{s}.", ".conv1.weight") for s in range(stages)
        ),
        convolutions_per_stage_decoder=tuple(
            _count(weights, f"conv_blocks_localization.{i}.", ".conv1.weight")
            for i in range(stages - 1)
        ),
    )


def _count(weights: Weights, start: str, end: str = ".conv.weight") -> int:
    """Return how many numbered parts there are between two pieces of a name."""
    return sum(
        name.startswith(start) and name.endswith(end)
        and name[len(start) : len(name) - len(end)].isdigit()
        for name in weights
    )  # fmt: skip


def _check_one_ct(plans: Mapping[str, Any]) -> None:
    where = "plans.pkl: normalization_schemes"
    schemes = list(fields(need(plans, "normalization_schemes", "plans.pkl"), where).values())
    masked = any(fields(plans.get("use_mask_for_norm"), "plans.pkl: use_mask_for_norm").values())
    if schemes != ["CT"] or masked:
        came = f"{schemes}{', within a mask' * masked}"
        raise refusal("plans.pkl: normalization_schemes", came, "CT, once: one CT channel")
