from __future__ import annotations

import zlib

import numpy as np
import pytest

import fake_engine
from flare_core.errors import InputError
from flare_core.jobs.remote import wire
from flare_core.jobs.remote.wire import Parcel, packed, unpacked


@pytest.mark.parametrize("kind", wire.TYPES)
@pytest.mark.parametrize("length", [1, 999, 300_000])
def test_arrays_come_back_whatever_the_pieces(kind, length):
    rng = np.random.default_rng(length)
    array = rng.integers(0, 100, (1, 3, length)).astype(kind)
    parcel, data = packed(array)
    assert parcel.bytes == len(data) <= wire.most_packed(array.nbytes)
    for size in (1000, 2**18, 2**30):
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        back = unpacked(parcel, pieces, "x")
        assert (back.dtype, back.shape) == (array.dtype, array.shape)
        assert np.array_equal(back, array)
        back[...] = 0  # networks may write into it


def test_other_types_and_orders_travel_as_well():
    turned = np.arange(60, dtype=">i2").reshape(3, 4, 5)[::-1].transpose(2, 0, 1)
    parcel, data = packed(turned)
    assert parcel.type == "int16"
    assert np.array_equal(unpacked(parcel, [data], "x"), turned)
    assert packed(np.zeros((2, 2, 2), bool))[0].type == "float32"


def test_spoilt_bytes_are_refused_without_taking_more_memory():
    array = np.random.default_rng(0).integers(0, 9, (5, 20, 20)).astype(np.uint8)
    parcel, data = packed(array)
    bomb = zlib.compress(bytes(10**8))
    spoilt = [
        b"", data[:-1], data + b"x", data[:40] + b"\0" + data[41:], b"\0" * len(data), bomb,
        packed(array[:-1])[1],
    ]  # fmt: skip
    for each in spoilt:
        with pytest.raises(InputError, match="not the array that was announced"):
            unpacked(parcel, [each], "x")


@pytest.mark.parametrize("fields", [
    None, [], {}, {"shape": [1, 2], "type": "int16", "bytes": 9},
    {"shape": [1, 2, 0], "type": "int16", "bytes": 9},
    {"shape": [1, 2, -3], "type": "int16", "bytes": 9},
    {"shape": [1, 2, 2**60], "type": "int16", "bytes": 9},
    {"shape": [1, 2, 3.0], "type": "int16", "bytes": 9},
    {"shape": [1, 2, True], "type": "int16", "bytes": 9},
    {"shape": [1, 2, 3], "type": "object", "bytes": 9},
    {"shape": [1, 2, 3], "type": "int16", "bytes": 10**6},
    {"shape": [1, 2, 3], "type": "int16", "bytes": "9"},
])  # fmt: skip
def test_announcements_that_cannot_be_are_refused(fields):
    with pytest.raises(InputError, match="x: not usable"):
        Parcel.of(fields, "x")


def test_a_grid_comes_back_to_the_bit():
    grid = fake_engine.GEOMETRY
    back = wire.grid_of(wire.fields_of(wire.line_of(wire.grid_fields(grid))), grid.shape, "x")
    assert back == grid


@pytest.mark.parametrize("spoilt", [
    {"spacing_mm": [1, 1, 0]}, {"spacing_mm": [1, 1, float("nan")]}, {"spacing_mm": "111"},
    {"origin_mm": [1, 2]}, {"origin_mm": [1, 2, float("inf")]}, {"origin_mm": [1, 2, None]},
    {"direction": [[1, 0, 0], [1, 0, 0], [0, 0, 1]]}, {"direction": [[1, 0, 0]]},
    {"direction": 3},
])  # fmt: skip
def test_a_grid_that_is_none_is_refused(spoilt):
    fields = {**wire.grid_fields(fake_engine.GEOMETRY), **spoilt}
    with pytest.raises(InputError):
        wire.grid_of(fields, (3, 3, 3), "x")


def test_a_proof_is_of_one_side_in_one_conversation():
    said = wire.proof("token", "client", "a", "b")
    others = [("token", "server", "a", "b"), ("tokem", "client", "a", "b"),
              ("token", "client", "b", "a"), ("token", "client", "a", "c")]  # fmt: skip
    assert wire.proves(said, wire.proof("token", "client", "a", "b"))
    assert not any(wire.proves(said, wire.proof(*other)) for other in others)
    assert not wire.proves(None, said)
    assert not wire.proves("ü", said)


def test_nonces_are_new_and_known_as_such():
    assert wire.new_nonce() != wire.new_nonce()
    assert wire.is_nonce(wire.new_nonce())
    assert not any(map(wire.is_nonce, ("", "x" * 32, 3, None, "a" * 33)))


@pytest.mark.parametrize("line", [b"", b"\xff", b"[1]", b"{", b"[" * 50_000])
def test_a_line_that_is_no_message_is_refused(line):
    with pytest.raises(ValueError):
        wire.fields_of(line)
