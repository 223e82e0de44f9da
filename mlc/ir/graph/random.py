"""rng_bit_generator: random bits from an explicit key by Threefry-2x32.

Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import DTypeError, UnsupportedError
from ..dims import Size
from ..types import U32, U64, TensorType, TupleType, ValueType
from .node import Node
from .op import Array, Op, declare
from .typing import tensor

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA
KEY = TensorType((2,), U32)
STATE = TensorType((2,), U64)


def _infer(operands: Sequence[ValueType], attributes: dict[str, Any]) -> TupleType:
    key = tensor("rng_bit_generator", operands[0], "key")
    if key not in (KEY, STATE):
        raise DTypeError(f"rng_bit_generator: the key is {key}, not {KEY} (a key) or {STATE} (a key and a counter)",
                         hint="make one with mlc.random.key(seed)")  # fmt: skip
    if attributes["dtype"] not in (U32, U64):
        raise DTypeError(f"rng_bit_generator: makes u32 or u64, not {attributes['dtype']}")
    if attributes["algorithm"] != "THREE_FRY":
        raise UnsupportedError(f"rng_bit_generator: algorithm {attributes['algorithm']!r}; mlc has THREE_FRY")
    return TupleType((key, TensorType(attributes["shape"], attributes["dtype"])))


def threefry(key: Array, high: Array, low: Array) -> tuple[Array, Array]:
    """Twenty rounds of Threefry-2x32 on the counters (high, low), each u32; the same bits as JAX's."""
    k = [key[0], key[1], key[0] ^ key[1] ^ np.uint32(PARITY)]
    with np.errstate(over="ignore"):
        x, y = high + k[0], low + k[1]
        for group in range(5):
            for r in ROTATIONS[group % 2]:
                x = x + y
                y = ((y << np.uint32(r)) | (y >> np.uint32(32 - r))) ^ x
            x, y = x + k[(group + 1) % 3], y + k[(group + 2) % 3] + np.uint32(group + 1)
    return x, y


def _evaluate(node: Node, shape: Any, key: Array) -> tuple[Array, Array]:
    out = shape[1]
    count = np.arange(int(np.prod(out, dtype=np.int64)), dtype=np.uint64).reshape(out)
    state = key
    if state.dtype == np.uint64:
        with np.errstate(over="ignore"):
            count = count + state[1]
            after = np.array([state[0], state[1] + np.uint64(count.size)])
        key = np.array([state[0] >> np.uint64(32), state[0]]).astype(np.uint32)
    high, low = threefry(key, (count >> np.uint64(32)).astype(np.uint32), count.astype(np.uint32))
    wide = (high.astype(np.uint64) << np.uint64(32)) | low.astype(np.uint64)
    bits: Array = high ^ low if node["dtype"] == U32 else wide
    if state.dtype == np.uint64:
        return after, bits
    first = threefry(key, np.zeros(1, np.uint32), np.zeros(1, np.uint32))
    return np.concatenate(first), bits


def _flops(node: Node) -> Size:
    bits = node.type.elements[1] if isinstance(node.type, TupleType) else None
    return bits.size * 70 if isinstance(bits, TensorType) else 0


RNG_BIT_GENERATOR: Op = declare(
    "rng_bit_generator", operands=1, infer=_infer, attributes=("shape", "dtype", "algorithm"), evaluate=_evaluate,
    jvp=(None,), flops=_flops)  # fmt: skip
"""Results: what the next call takes, and ``shape`` bits, element i of the counter that row-major position i has.

A u32[2] is a key: counters are positions, and the next key is the first that ``split`` gives. A u64[2], StableHLO's
state, is a key and a counter: counters go on from there, and the next state is the same key behind the last one used.
"""
