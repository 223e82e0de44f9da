"""A compiled program as bytes: its Plan, which kernels of which objects it runs, its constants, its lines."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlc.ir.types import DTYPES

Line = tuple[str, int, str]  # file, line, scope


@dataclass(frozen=True)
class Entry:
    """``kernels`` are (kernel key, digest of the object, symbol) in the Plan's order.

    ``constants`` are arrays, or digests of literals of the traced graph, which has them at hand. ``lines`` are the
    user's lines that the Plan's labels name, by the position of a node that stands on them. ``devices`` are the names
    of the Plan's devices with the PTX of their kernels; those have no key and no object.
    """

    plan: bytes
    kernels: tuple[tuple[str, str, str], ...]
    constants: tuple[npt.NDArray[Any] | str, ...]
    lines: Mapping[int, Line]
    devices: tuple[tuple[str, str], ...] = ()


def encode_entry(entry: Entry) -> bytes:
    """The binary form: a JSON header with its length before it, the Plan, the constants' bytes."""
    header = {
        "plan": len(entry.plan),
        "kernels": entry.kernels,
        "constants": [c if isinstance(c, str) else [_name(c), c.shape] for c in entry.constants],
        "lines": list(entry.lines.items()),
        "devices": entry.devices,
    }
    text = json.dumps(header).encode()
    data = [np.ascontiguousarray(c).tobytes() for c in entry.constants if not isinstance(c, str)]
    return b"".join([struct.pack("<Q", len(text)), text, entry.plan, *data])


def decode_entry(payload: bytes) -> Entry:
    """The entry of bytes that ``encode_entry`` made. Raises ValueError, KeyError or TypeError for others."""
    (length,) = struct.unpack_from("<Q", payload)
    header = json.loads(payload[8 : 8 + length])
    at = 8 + length
    plan, at = payload[at : at + header["plan"]], at + header["plan"]
    constants: list[npt.NDArray[Any] | str] = []
    for said in header["constants"]:
        if isinstance(said, str):
            constants.append(said)
            continue
        dtype, shape = DTYPES[said[0]].numpy, tuple(said[1])
        count = int(np.prod(shape, dtype=np.int64))
        constants.append(np.frombuffer(payload, dtype, count, at).reshape(shape))
        at += count * dtype.itemsize
    kernels = tuple((str(key), str(digest), str(symbol)) for key, digest, symbol in header["kernels"])
    devices = tuple((str(name), str(ptx)) for name, ptx in header["devices"])
    return Entry(plan, kernels, tuple(constants), {int(n): _line(line) for n, line in header["lines"]}, devices)


def _line(line: Sequence[Any]) -> Line:
    return str(line[0]), int(line[1]), str(line[2])


def _name(array: npt.NDArray[Any]) -> str:
    return next(name for name, t in DTYPES.items() if t.numpy == array.dtype)
