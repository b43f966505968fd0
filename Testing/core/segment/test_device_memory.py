from __future__ import annotations

import weakref
from collections.abc import Callable

import pytest
import torch

from flare_core.errors import InputError
from flare_core.segment.device_memory import Relief, free_device_gib, or_own_memory, ran_out
from pretended_gpu import no_memory


def failing(times: int, error: Callable[[], RuntimeError] = no_memory) -> Callable[[], str]:
    """Work that fails so often."""
    left = [times]

    def work() -> str:
        if left[0]:
            left[0] -= 1
            raise error()
        return "done"

    return work


def test_work_is_done_again_after_something_was_given_up() -> None:
    given: list[int] = []
    relief = Relief(lambda: given.append(1))
    assert relief.do(failing(0)) == "done" and not given
    assert relief.do(failing(1)) == "done" and given == [1]


def test_without_room_even_so_a_person_is_told() -> None:
    for work in (failing(2), failing(1)):
        relief = Relief(lambda: None)
        with pytest.raises(InputError, match="graphics card") as error:
            relief.do(failing(1))
            relief.do(work)
        assert "Tried to allocate 1.00 GiB" in error.value.parts[1]
        assert "--device cpu" in error.value.parts[3]


def test_other_errors_are_nobodys_to_relieve() -> None:
    given: list[int] = []
    with pytest.raises(RuntimeError, match="no kernel"):
        Relief(lambda: given.append(1)).do(failing(1, lambda: RuntimeError("no kernel")))
    assert not given


@pytest.mark.parametrize(
    "words",
    ["CUDA error: out of memory", "MPS backend out of memory (MPS allocated: 5 GB)",
     "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"],
)  # fmt: skip
def test_it_is_known_by_what_libraries_say(words: str) -> None:
    assert ran_out(RuntimeError(words)) and ran_out(no_memory())
    assert not ran_out(RuntimeError("Expected all tensors to be on the same device"))


def test_what_failed_holds_nothing_when_room_is_made() -> None:
    """Memory that the failed work's frames still hold would be missing for the second try."""
    alive: list[bool] = []
    seen: list[weakref.ref[torch.Tensor]] = []

    def work() -> int:
        held = torch.zeros(3)
        seen.append(weakref.ref(held))
        if len(seen) == 1:
            raise no_memory()
        return int(held.sum())

    assert Relief(lambda: alive.append(seen[0]() is not None)).do(work) == 0
    assert alive == [False]


def test_a_tensor_moves_once() -> None:
    work = failing(1)
    assert or_own_memory(torch.ones(2), lambda t: (work(), float(t.sum()))) == ("done", 2.0)
    with pytest.raises(InputError):
        or_own_memory(torch.ones(2), lambda _: failing(9)())


def test_free_memory_counts_what_torch_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    gib = 2**30
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (3 * gib, 8 * gib))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 2 * gib)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: gib)
    assert free_device_gib(torch.device("cuda")) == 4.0
    assert free_device_gib(torch.device("cpu")) is None
    assert free_device_gib(torch.device("mps")) is None
