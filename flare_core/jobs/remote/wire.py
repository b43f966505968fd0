"""What travels between client and server: JSON lines, and behind some of them voxels as bytes.

Both sides in order, C for the client::

    C {"command": "hello", "protocol": 1, "version": "0.3.0", "nonce": "5f..."}
      {"event": "hello", "protocol": 1, "version": "0.3.0", "nonce": "a0..."}
    C {"command": "prove", "proof": "9c..."}          it has the token
      {"event": "ready", "proof": "b1..."}            the server has it as well
    C {"command": "check", "settings": {...}}         -> {"event": "ok"}
    or
    C {"command": "segment", "image": {"shape": [z, y, x], "type": "int16", "bytes": N,
       "spacing_mm": [...], "origin_mm": [...], "direction": [[...], ...]},
       "settings": {...}, "scores": false}
      {"event": "send"}                               not too large, a place is free
    C N bytes: the voxels, little-endian, C order, zlib
      {"event": "queued", "position": 3, "of": 5}     whenever it changes
      {"event": "progress", "stage": "organs", "fraction": 0.4, "seconds_left": 3.1}
      {"event": "alive"}                              when there is nothing else to say
      {"event": "result", "labels": {"shape", "type", "bytes"}, "scores": null or {...},
       "rows": [...], "lesions": [...], "notes": [...], "timings_s": {...}, "provenance": {...}}
      the bytes of the labels, then of the scores

At any time ``{"event": "error", ...}`` with the fields of the worker's errors, and the end.
Hanging up is how a client cancels. Nothing in here is a path or a name of a patient.
"""

from __future__ import annotations

import hmac
import json
import math
import re
import secrets
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flare_core.errors import InputError
from flare_core.imaging.checks import check_place, orthonormal
from flare_core.imaging.geometry import Geometry, Index
from flare_core.jobs.failure import json_line

PROTOCOL = 1
"""Raised when an old side could no longer talk to a new one."""

MOST_REQUEST_BYTES = 2**16
"""A longer line of a client is no request."""

MOST_ANSWER_BYTES = 2**24
"""A longer line of a server is no answer; many lesions make some 100 KB."""

CHUNK_BYTES = 2**18
"""So much is sent at a time."""

TYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "float16", "float32", "float64")
"""numpy's names of the number types that travel."""

FASTEST = 1
"""zlib's level: half the bytes of a CT, at 60 MB/s."""

NONCE = re.compile("[0-9a-f]{32}")

Fields = Mapping[str, Any]
Array = npt.NDArray[np.generic]


# --- lines


def line_of(fields: Mapping[str, Any]) -> bytes:
    """Return a message as one line of ASCII."""
    return json_line(dict(fields)).encode("ascii")


def fields_of(line: bytes) -> dict[str, Any]:
    """Return the message of a line.

    Raises
    ------
    ValueError
        If it is none.

    Examples
    --------
    >>> fields_of(line_of({"event": "ok"}))
    {'event': 'ok'}
    """
    try:
        fields = json.loads(line)
    except RecursionError as error:
        raise ValueError("too deep") from error
    if not isinstance(fields, dict):
        raise ValueError("no object")
    return fields


# --- proofs


def new_nonce() -> str:
    """Return a number that is used once."""
    return secrets.token_hex(16)


def proof(token: str, who: str, client_nonce: str, server_nonce: str) -> str:
    """Return what only somebody with the token can say, in this conversation alone.

    Parameters
    ----------
    who : str
        ``client`` or ``server``: a side's own words, said back to it, prove nothing.

    Source: HMAC, RFC 2104.
    """
    words = f"flare {PROTOCOL} {who} {client_nonce} {server_nonce}"
    return hmac.new(token.encode(), words.encode(), "sha256").hexdigest()


def proves(said: object, expected: str) -> bool:
    """Whether a proof is the expected one; how long that takes tells nothing."""
    return isinstance(said, str) and hmac.compare_digest(said.encode(), expected.encode())


def is_nonce(value: object) -> bool:
    """Whether a value can be the other side's nonce."""
    return isinstance(value, str) and NONCE.fullmatch(value) is not None


# --- voxels


@dataclass(frozen=True)
class Parcel:
    """An array that is on its way."""

    shape: tuple[int, ...]
    """Of the array."""
    type: str
    """One of `TYPES`."""
    bytes: int
    """As it travels."""

    @property
    def size(self) -> int:
        """Bytes of the array itself."""
        return math.prod(self.shape) * np.dtype(self.type).itemsize

    @classmethod
    def of(cls, fields: object, argument: str, dimensions: int = 3) -> Parcel:
        """Return what a message announces.

        Raises
        ------
        InputError
            If it cannot be.
        """
        value: Fields = fields if isinstance(fields, Mapping) else {}
        found: tuple[Any, Any, Any] = value.get("shape"), value.get("type"), value.get("bytes")
        shape, kind, size = found
        good = (
            isinstance(shape, list)
            and len(shape) == dimensions
            and all(_is_count(n) for n in shape)
            and kind in TYPES
            and _is_count(size)
        )
        if not good:
            raise InputError(
                argument,
                f"shape {shape!r}, type {kind!r}, bytes {size!r}",
                f"{dimensions} whole numbers above 0, one of {', '.join(TYPES)}, and a number",
                "Install the same version of FLARESeg on both computers.",
            )
        parcel = cls(tuple(shape), str(kind), int(size))
        if parcel.bytes > most_packed(parcel.size):
            raise InputError(
                argument, f"{parcel.bytes} bytes for an array of {parcel.size}",
                "fewer: they are compressed", "Install FLARESeg again.",
            )  # fmt: skip
        return parcel

    def fields(self) -> dict[str, Any]:
        """Return plain values."""
        return {"shape": list(self.shape), "type": self.type, "bytes": self.bytes}


def most_packed(size: int) -> int:
    """Return the bytes that an array can have on its way; noise gets a little larger."""
    return size + size // 1000 + 1024


def packed(array: Array) -> tuple[Parcel, bytes]:
    """Return an array as bytes; a type that does not travel becomes float32.

    Examples
    --------
    >>> parcel, data = packed(np.zeros((4, 50, 50), np.int16))
    >>> parcel.size, len(data) < 200
    (20000, True)
    """
    kind = array.dtype.name if array.dtype.name in TYPES else "float32"
    plain = np.ascontiguousarray(array, np.dtype(kind).newbyteorder("<"))
    data = zlib.compress(plain.reshape(-1).view(np.uint8).data, FASTEST)
    return Parcel(tuple(map(int, array.shape)), kind, len(data)), data


def unpacked(parcel: Parcel, chunks: Iterable[bytes], argument: str) -> Array:
    """Return the array of bytes that came; no more memory is taken than was announced.

    Raises
    ------
    InputError
        If they are not what was announced.
    """
    plain = np.empty(parcel.size, np.uint8)
    try:
        whole = _fill(plain, chunks)
    except zlib.error:
        whole = False
    if not whole:
        raise InputError(
            argument,
            "bytes that are not the array that was announced",
            f"{parcel.size} bytes, compressed by zlib",
            "Send it again; if it happens twice, the network spoils data.",
        )
    array = plain.view(np.dtype(parcel.type).newbyteorder("<")).reshape(parcel.shape)
    return array.astype(parcel.type, copy=False)


def _fill(plain: npt.NDArray[np.uint8], chunks: Iterable[bytes]) -> bool:
    """Unpack into a buffer; return whether it is full, and the end of the stream is its end."""
    stream, filled = zlib.decompressobj(), 0
    for chunk in chunks:
        rest = chunk
        while rest and not stream.eof:
            piece = stream.decompress(rest, CHUNK_BYTES)
            filled += len(piece)
            if filled > plain.size:
                return False
            plain[filled - len(piece) : filled] = np.frombuffer(piece, np.uint8)
            rest = stream.unconsumed_tail
        if rest or stream.unused_data:
            return False
    return stream.eof and filled == plain.size


# --- where voxels are


def grid_fields(geometry: Geometry) -> dict[str, Any]:
    """Return where voxels are, without their number."""
    return {
        "spacing_mm": list(geometry.spacing_mm),
        "origin_mm": list(geometry.origin_mm),
        "direction": [list(axis) for axis in geometry.direction],
    }


def grid_of(fields: Fields, shape: Index, argument: str) -> Geometry:
    """Return the grid that a message describes.

    Raises
    ------
    InputError
        If there is no such grid.
    """
    try:
        spacing, origin = _three(fields["spacing_mm"]), _three(fields["origin_mm"])
        x, y, z = (_three(axis) for axis in fields["direction"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            argument,
            f"a grid that is none ({error})",
            "spacing_mm, origin_mm and direction of three numbers each",
            "Install the same version of FLARESeg on both computers.",
        ) from error
    if not all(0 < step < math.inf for step in spacing):
        raise InputError(argument, f"a spacing of {spacing} mm", "above 0", "Correct the image.")
    check_place(argument, origin)
    return Geometry(shape, spacing, origin, orthonormal(argument, (x, y, z)))


def _three(values: object) -> tuple[float, float, float]:
    if not isinstance(values, list) or not all(type(value) in (int, float) for value in values):
        raise ValueError("not three numbers")
    a, b, c = map(float, values)
    return a, b, c


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**40
