"""Elementwise nodes and uniform constants in the kernel language."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from mlc.ir.graph import CLAMP, COMPARE, CONVERT, POWER, SELECT, Node
from mlc.ir.kernel import KernelBuilder, Value
from mlc.ir.types import BOOL, DType

_SILENT = frozenset(("parameter", "constant", "broadcast_in_dim", "reshape", "convert", "size", "get_dimension_size"))
_SHORT = {
    "dot_general": "dot", "reduce": "sum", "multiply": "mul", "subtract": "sub", "divide": "div", "maximum": "max",
    "minimum": "min", "exponential": "exp", "exponential_minus_one": "expm1", "log_plus_one": "log1p",
    "concatenate": "concat", "negate": "neg", "bitcast_convert": "bitcast", "is_finite": "finite",
    "round_nearest_even": "round", "shift_left": "shl", "shift_right_logical": "shr", "shift_right_arithmetic": "sar",
}  # fmt: skip


def kernel_name(nodes: Iterable[Node]) -> str:
    """A short readable name from the ops inside: ``dot_add_max``; at most five of them."""
    words: list[str] = []
    quiet: list[str] = []
    for node in nodes:
        name = _SHORT.get(node.op.name, node.op.name)
        if node.op.name == "reduce":
            reducer = node["body"].results[0].op.name
            name = "sum" if reducer == "add" else f"reduce_{_SHORT.get(reducer, reducer)}"
        (quiet if node.op.name in _SILENT else words).append(name)
    words = words or [w for w in quiet if w not in ("parameter", "constant")] or ["copy"]
    shown = [w for k, w in enumerate(words) if k == 0 or words[k - 1] != w]
    return "_".join(shown[:5])


def is_uniform(constant: Node) -> bool:
    """Whether all elements of a constant have the same bits."""
    array = constant["value"].array
    if array.size <= 1:
        return True
    raw = np.ascontiguousarray(array).reshape(-1).view(np.dtype((np.void, array.itemsize)))
    return bool((raw == raw[0]).all())


def bits_of_element(element: npt.ArrayLike, dtype: DType) -> int:
    """The bit pattern of one element of an array of ``dtype``."""
    if dtype == BOOL:
        return int(np.asarray(element).any())
    return int.from_bytes(np.asarray(element).tobytes(), "little")


def emit_elementwise(b: KernelBuilder, node: Node, values: Sequence[Value]) -> Value:
    """The elementwise ``node`` applied to scalars or vectors."""
    if node.op is COMPARE:
        return b.compare(node["direction"], values[0], values[1])
    if node.op is SELECT:
        return b.select(*values)
    if node.op is CLAMP:
        low, x, high = values
        return b.op("minimum", b.op("maximum", x, low), high)
    if node.op is CONVERT:
        return b.convert(values[0], node.dtype)
    if node.op.name == "bitcast_convert":
        return b.bitcast(values[0], node.dtype)
    if node.op is POWER and node.dtype.is_integer:
        return _integer_power(b, values[0], values[1])
    return b.op(node.op.name, *values)


def _integer_power(b: KernelBuilder, x: Value, y: Value) -> Value:
    """Repeated squaring over the bits of ``y``; a negative power of 1 or -1 is one of them, of others 0."""
    dtype, lanes = x.dtype, x.lanes

    def number(k: int) -> Value:
        return b.constant(k, dtype, lanes)

    one, zero = number(1), number(0)
    with b.loop(0, dtype.bits, carried=(one, x, y)) as loop:
        power, square, rest = loop.carried
        odd = b.compare("NE", b.op("and", rest, one), zero)
        power = b.select(odd, b.op("multiply", power, square), power)
        b.yield_(power, b.op("multiply", square, square), b.op("shift_right_logical", rest, one))
    power = loop.results[0]
    if dtype.kind == "uint":
        return power
    is_odd = b.compare("NE", b.op("and", y, one), zero)
    of_minus_one = b.select(is_odd, number(-1), one)
    small = b.select(b.compare("EQ", x, number(-1)), of_minus_one, zero)
    small = b.select(b.compare("EQ", x, one), one, small)
    return b.select(b.compare("LT", y, zero), small, power)
