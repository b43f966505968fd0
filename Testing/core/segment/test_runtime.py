from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from flare_core.errors import InputError
from flare_core.segment import runtime
from flare_core.segment.runtime import Runtime, available_cores, choose_runtime, cpu_has_bf16


def no_gpu(monkeypatch: pytest.MonkeyPatch, *, cuda: bool = False, mps: bool = False) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


def test_auto_without_a_gpu_is_the_cpu_with_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    no_gpu(monkeypatch)
    chosen = choose_runtime()
    assert (chosen.device, chosen.threads) == ("cpu", available_cores())
    assert chosen.precision == ("bf16" if cpu_has_bf16() else "float32")


def test_auto_takes_a_cuda_gpu_in_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    no_gpu(monkeypatch, cuda=True)
    assert choose_runtime(threads=3) == Runtime("cuda", "fp16", 3)


def test_auto_never_takes_mps_but_it_can_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    no_gpu(monkeypatch, mps=True)
    assert choose_runtime().device == "cpu"
    assert choose_runtime("mps", threads=1) == Runtime("mps", "float32", 1)


def test_bf16_that_would_be_emulated_becomes_float32_with_a_note(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for has, precision in ((True, "bf16"), (False, "float32")):
        monkeypatch.setattr(runtime, "cpu_has_bf16", lambda has=has: has)
        chosen = choose_runtime("cpu", "bf16")
        assert chosen.precision == precision
        assert bool(chosen.notes) is not has
    assert "no bf16 instructions" in chosen.notes[0]


def test_fp16_on_a_processor_becomes_float32_with_a_note() -> None:
    chosen = choose_runtime("cpu", "fp16")
    assert chosen.precision == "float32"
    assert "This processor does not run the networks in fp16" in chosen.notes[0]


@pytest.mark.parametrize(("capability", "precision"), [((7, 5), "float32"), ((8, 0), "bf16")])
def test_bf16_on_a_graphics_card_without_it_becomes_float32(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], precision: str
) -> None:
    no_gpu(monkeypatch, cuda=True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    chosen = choose_runtime("cuda", "bf16")
    assert chosen.precision == precision
    assert bool(chosen.notes) is (precision == "float32")
    assert choose_runtime("cuda", "fp16").precision == "fp16"


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_on_mps_is_tried_first(
    monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    no_gpu(monkeypatch, mps=True)
    ones = torch.ones
    monkeypatch.setattr(torch, "ones", lambda size, dtype, **_: ones(size, dtype=dtype))
    assert choose_runtime("mps", precision).precision == precision

    def lacks(*_: object) -> None:
        raise TypeError("BFloat16 is not supported on MPS")

    monkeypatch.setattr(torch, "ones", lacks)
    chosen = choose_runtime("mps", precision)
    assert chosen.precision == "float32" and "graphics processor" in chosen.notes[0]


@pytest.mark.parametrize(("has", "precision"), [(True, "bf16"), (False, "float32")])
def test_bf16_only_where_the_cpu_has_it(
    monkeypatch: pytest.MonkeyPatch, has: bool, precision: str
) -> None:
    monkeypatch.setattr(runtime, "cpu_has_bf16", lambda: has)
    assert choose_runtime("cpu").precision == precision
    assert choose_runtime("cpu", "float32").precision == "float32"


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("gpu",), "--device"),
        (("auto", "half"), "--precision"),
        (("auto", "auto", -1), "--threads"),
        (("cuda",), "--device"),
    ],
)
def test_what_cannot_be_had_is_refused(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple, part: str
) -> None:
    no_gpu(monkeypatch)
    with pytest.raises(InputError) as error:
        choose_runtime(*arguments)
    assert error.value.parts[0] == part


def test_the_refusal_of_a_device_names_those_that_are_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    no_gpu(monkeypatch, mps=True)
    with pytest.raises(InputError) as error:
        choose_runtime("cuda")
    assert error.value.parts[1:3] == ("cuda", "cpu, mps")


def test_cores_are_those_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    if hasattr(os, "sched_getaffinity"):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 5, 7})
        assert available_cores() == 3
        monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available_cores() == 1


def test_placed_networks_predict_in_the_runtimes_type_and_layout() -> None:
    network = nn.Sequential(nn.Conv3d(4, 8, 3), nn.Dropout(0.9)).train()
    placed = Runtime("cpu", "bf16", 1).place(network)
    assert not placed[1].training
    weight = placed[0].weight
    assert weight.dtype == torch.bfloat16
    assert weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert not weight.is_contiguous()


@pytest.mark.parametrize(
    ("free_gib", "room_gib", "word"),
    [(0.1, None, "0.10 GiB free"), (8.0, 0.5, "limit"), (None, 0.01, "limit")],
)
def test_too_little_memory_for_torch_is_said_before_torch_ends_the_process(
    monkeypatch: pytest.MonkeyPatch, free_gib: float | None, room_gib: float | None, word: str
) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(runtime, "free_memory_gib", lambda: free_gib)
    monkeypatch.setattr(runtime, "_address_space_gib", lambda: room_gib)
    with pytest.raises(InputError, match=word) as error:
        runtime.load_torch()
    assert error.value.parts[0] == "memory" and "GiB to load" in error.value.parts[2]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("std::bad_alloc"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
    ],
)
def test_memory_that_runs_out_while_torch_is_loaded_is_said(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    class NoMemory:
        def find_spec(self, name: str, *rest: object) -> None:
            if name == "torch":
                raise error

    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(runtime, "_address_space_gib", lambda: None)
    monkeypatch.setattr(sys, "meta_path", [NoMemory(), *sys.meta_path])
    with pytest.raises(InputError, match="memory"):
        runtime.load_torch()


def test_torch_that_is_missing_is_not_called_a_lack_of_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Missing:
        def find_spec(self, name: str, *rest: object) -> None:
            if name == "torch":
                raise ImportError("No module named torch")

    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    with pytest.raises(ImportError, match="No module"):
        runtime.load_torch()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of addresses as on Linux")
def test_a_process_with_a_limit_of_addresses_says_so() -> None:
    """Without the look ahead torch aborts here: `std::bad_alloc`, or no word at all."""
    script = (
        "import resource\nfrom flare_core.segment.runtime import load_torch\n"
        "pages = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (pages + 400 * 2**20,) * 2)\n"
        "try:\n    load_torch()\nexcept ValueError as error:\n    print(error.parts[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0 and done.stdout == (
        "0.39 GiB left of this process's limit (ulimit -v)\n"
    )


@pytest.mark.parametrize(
    ("device", "precision", "keeps", "grids"),
    [("cpu", "bf16", False, torch.float32), ("mps", "fp16", False, torch.float32),
     ("cuda", "fp16", True, torch.float16), ("cuda", "bf16", True, torch.float32)],
)  # fmt: skip
def test_what_stays_on_a_device(
    device: str, precision: str, keeps: bool, grids: torch.dtype
) -> None:
    there = Runtime(device, precision, 1)
    assert there.where == torch.device(device)
    assert there.keeps_scores is keeps and there.grid_type == grids
