"""Random numbers from explicit keys: the bits of JAX's threefry2x32 (partitionable), whatever the target.

A key is a ``u32[2]``. Every number is a function of its key and its position alone: use a key once, and get more
from ``split`` or ``fold_in``. Bits and uniforms are the same on every target; ``normal`` within a few units in the
last place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlc import numpy as mnp
from mlc.errors import ArgumentError, DTypeError
from mlc.ir.dims import Size
from mlc.ir.graph import (
    ADD,
    BITCAST_CONVERT,
    CONVERT,
    GET_TUPLE_ELEMENT,
    MULTIPLY,
    OR,
    REMAINDER,
    RNG_BIT_GENERATOR,
    SHIFT_LEFT,
    SHIFT_RIGHT_LOGICAL,
    XOR,
    constant,
    full_like,
)  # fmt: skip
from mlc.ir.graph.node import Node
from mlc.ir.graph.random import KEY, PARITY, ROTATIONS
from mlc.ir.types import BF16, DTYPES, F16, F32, F64, I64, U8, U16, U32, U64, DType
from mlc.numpy.dispatch import operation
from mlc.numpy.promotion import wrap
from mlc.tracing.lift import as_node
from mlc.tracing.spec import ShapeDtype, element_type
from mlc.tracing.tracer import Tracer

Shape = Size | Sequence[Size]
_MANTISSA = {F16: 10, BF16: 7, F32: 23, F64: 52}
_BITS = {F16: U16, BF16: U8, F32: U32, F64: U64}  # what a uniform is made of; bf16 has 7 bits of mantissa


def key(seed: int | object) -> Any:
    """The key of ``seed``, an integer of 64 bits (its high and low halves).

    Raises DTypeError for a seed that is no integer.

    Example:
        >>> import mlc
        >>> mlc.random.key(42).tolist()
        [0, 42]
    """
    if isinstance(seed, int) and not isinstance(seed, bool):
        if not -(1 << 63) <= seed < 1 << 64:
            raise ArgumentError(f"key: {seed} has more than 64 bits")
        return mnp.asarray(np.array([seed >> 32 & 0xFFFFFFFF, seed & 0xFFFFFFFF], np.uint32))
    return _traced_key(seed)


@operation("seed")
def _traced_key(seed: object) -> Tracer:
    node = as_node(seed, None, "key: seed")
    if not node.dtype.is_integer or node.shape:
        raise DTypeError(f"key: the seed is {node.type}; it is an integer of rank 0")
    return _pairs(BITCAST_CONVERT(CONVERT(node, dtype=I64), dtype=U64))


@operation("key")
def split(key: object, num: Shape = 2) -> Tracer:
    """``num`` new keys, ``u32[num, 2]``, all different from each other and from ``key``.

    Example:
        >>> import mlc
        >>> first, second = mlc.random.split(mlc.random.key(42))
        >>> first.tolist()
        [1832780943, 270669613]
    """
    return _pairs(_bits("split", key, num, U64))


@operation("key", "data")
def fold_in(key: object, data: object) -> Tracer:
    """The key that ``data``, an integer (its low 32 bits), makes of ``key``: one for each step, layer or worker.

    Example:
        >>> import mlc
        >>> mlc.random.fold_in(mlc.random.key(42), 7).shape
        (2,)
    """
    pair, count = _key_node("fold_in", key), as_node(data, None, "fold_in: data")
    if not count.dtype.is_integer or count.shape:
        raise DTypeError(f"fold_in: data is {count.type}; it is an integer of rank 0")
    tracer = wrap(pair)
    x, y = _threefry(tracer[0].node, tracer[1].node, CONVERT(count, dtype=U32))
    return mnp.stack([wrap(x), wrap(y)])


@operation("key")
def bits(key: object, shape: Shape = (), dtype: object = U32) -> Tracer:
    """Random bits as unsigned integers of any width.

    Example:
        >>> import mlc
        >>> mlc.random.bits(mlc.random.key(42), (2,)).dtype
        u32
    """
    return wrap(_bits("bits", key, shape, element_type(dtype)))


def uniform(key: object, shape: Shape = (), dtype: object = F32, minval: Any = 0.0, maxval: Any = 1.0) -> Any:
    """Evenly distributed in ``[minval, maxval)``; a multiple of 2^-23 (f32) before it is scaled.

    Raises DTypeError for a ``dtype`` that is no float.

    Example:
        >>> import mlc
        >>> mlc.random.uniform(mlc.random.key(42), (2,)).tolist()
        [0.48870956897735596, 0.6797971725463867]
    """
    shape = _shape(shape)
    if isinstance(minval, int | float) and isinstance(maxval, int | float) and (minval, maxval) == (0, 1):
        return _unit(key, shape, dtype)
    return _between(key, minval, maxval, shape, dtype)


def normal(key: object, shape: Shape = (), dtype: object = F32) -> Any:
    """Normally distributed with mean 0 and variance 1: the inverse error function of a uniform, as JAX.

    Example:
        >>> import mlc
        >>> mlc.random.normal(mlc.random.key(42), (2, 3)).shape
        (2, 3)
    """
    return _normal(key, _shape(shape), dtype)


def truncated_normal(key: object, lower: float, upper: float, shape: Shape = (), dtype: object = F32) -> Any:
    """Normally distributed between the static bounds ``lower`` and ``upper``.

    Example:
        >>> import mlc
        >>> float(abs(mlc.random.truncated_normal(mlc.random.key(42), -2.0, 2.0, (100,))).max()) < 2.0
        True
    """
    return _truncated_normal(key, _shape(shape), dtype, float(lower), float(upper))


def bernoulli(key: object, p: Any = 0.5, shape: Shape | None = None) -> Any:
    """True with probability ``p``, in its shape or ``shape``, which it broadcasts to.

    Example:
        >>> import mlc
        >>> mlc.random.bernoulli(mlc.random.key(42), 0.5, (3,)).dtype
        bool
    """
    return _bernoulli(key, p, None if shape is None else _shape(shape))


def randint(key: object, shape: Shape, minval: Any, maxval: Any, dtype: object = I64) -> Any:
    """Integers in ``[minval, maxval)``; ``minval`` where there are none. Raises DTypeError for no integer ``dtype``.

    Example:
        >>> import mlc
        >>> mlc.random.randint(mlc.random.key(42), (3,), 5, 6).tolist()
        [5, 5, 5]
    """
    return _randint(key, minval, maxval, _shape(shape), dtype)


@operation("key")
def _unit(key: object, shape: tuple[Size, ...], dtype: object) -> Tracer:
    return wrap(_uniform("uniform", key, shape, element_type(dtype)))


@operation("key", "minval", "maxval")
def _between(key: object, minval: object, maxval: object, shape: tuple[Size, ...], dtype: object) -> Tracer:
    target = element_type(dtype)
    return _scaled(wrap(_uniform("uniform", key, shape, target)), minval, maxval, target)


@operation("key")
def _normal(key: object, shape: tuple[Size, ...], dtype: object) -> Tracer:
    target = element_type(dtype)
    unit = wrap(_uniform("normal", key, shape, target))
    low = float(np.nextafter(target.numpy.type(-1), target.numpy.type(0)))
    root = float(np.sqrt(np.float64(2)).astype(target.numpy))
    return erf_inv(_scaled(unit, low, 1.0, target)) * root


@operation("key")
def _truncated_normal(key: object, shape: tuple[Size, ...], dtype: object, lower: float, upper: float) -> Tracer:
    from math import erf

    target = element_type(dtype)
    kind, root = target.numpy.type, float(np.sqrt(np.float64(2)).astype(target.numpy))
    a, b = (float(kind(erf(float(kind(bound / root))))) for bound in (lower, upper))
    unit = wrap(_uniform("truncated_normal", key, shape, target))
    values = erf_inv(_scaled(unit, a, b, target)) * root
    inside = [float(np.nextafter(kind(bound), kind(to))) for bound, to in ((lower, np.inf), (upper, -np.inf))]
    return mnp.clip(values, inside[0], inside[1])


@operation("key", "p")
def _bernoulli(key: object, p: object, shape: tuple[Size, ...] | None) -> Tracer:
    chance = wrap(as_node(p, None, "bernoulli: p"))
    if not chance.dtype.is_float:
        chance = chance.astype(F32)
    sizes = chance.shape if shape is None else shape
    return wrap(_uniform("bernoulli", key, sizes, chance.dtype)) < mnp.broadcast_to(chance, sizes)


@operation("key", "minval", "maxval")
def _randint(key: object, minval: object, maxval: object, shape: tuple[Size, ...], dtype: object) -> Tracer:
    target = element_type(dtype)
    if not target.is_integer:
        raise DTypeError(f"randint: dtype is {target}; it is an integer type")
    unsigned = DTYPES[f"u{target.bits}"]
    low, high = (mnp.broadcast_to(wrap(as_node(v, target, "randint: bound")), shape) for v in (minval, maxval))
    span = mnp.where(high > low, _bitcast(high - low, unsigned), 1).node
    keys = split(key)
    upper, lower = (_bits("randint", keys[i], shape, unsigned) for i in (0, 1))
    half = REMAINDER(full_like(span, 1 << target.bits // 2), span)
    factor = REMAINDER(MULTIPLY(half, half), span)  # 2^bits modulo span, so that two words make one offset
    offset = ADD(MULTIPLY(REMAINDER(upper, span), factor), REMAINDER(lower, span))
    return low + _bitcast(wrap(REMAINDER(offset, span)), target)


def erf_inv(x: Tracer) -> Tracer:
    """The inverse of the error function on [-1, 1]; 16-bit floats are computed in f32.

    Polynomials by M. Giles, "Approximating the erfinv function" (2010), as in XLA.
    """
    if x.dtype.bits < 32:
        return erf_inv(x.astype(F32)).astype(x.dtype)
    w = -mnp.log1p(x * -x)
    pieces = _GILES_64 if x.dtype == F64 else _GILES_32
    root = mnp.sqrt(w)
    result = None
    for limit, shift, of_root, coefficients in reversed(pieces):
        value = _polynomial((root if of_root else w) - shift, coefficients)
        result = value if result is None else mnp.where(w < limit, value, result)
    assert result is not None
    return mnp.where(mnp.abs(x) == 1.0, x * float("inf"), result * x)


# ---------------------------------------------------------------- helpers on nodes


def _shape(shape: Shape) -> tuple[Size, ...]:
    return ShapeDtype(shape).shape


def _key_node(name: str, key: object) -> Node:
    node = as_node(key, None, f"{name}: key")
    if node.type != KEY:
        raise DTypeError(f"{name}: the key is {node.type}, not {KEY}", hint="make one with mlc.random.key(seed)")
    return node


def _bits(name: str, key: object, shape: Shape, dtype: DType) -> Node:
    """Bits as u32 or u64, or the low ones of u32 for narrower types."""
    if dtype.kind != "uint":
        raise DTypeError(f"{name}: dtype is {dtype}; bits are unsigned integers")
    wide = dtype if dtype == U64 else U32
    made = RNG_BIT_GENERATOR(_key_node(name, key), shape=_shape(shape), dtype=wide, algorithm="THREE_FRY")
    words = GET_TUPLE_ELEMENT(made, index=1)
    return words if wide == dtype else CONVERT(words, dtype=dtype)


def _pairs(words: Node) -> Tracer:
    """``u64[...]`` to ``u32[..., 2]``: high half, low half."""
    high = CONVERT(SHIFT_RIGHT_LOGICAL(words, full_like(words, 32)), dtype=U32)
    return mnp.stack([wrap(high), wrap(CONVERT(words, dtype=U32))], axis=-1)


def _uniform(name: str, key: object, shape: Sequence[Size], dtype: DType) -> Node:
    """In [0, 1): random mantissa bits behind the exponent of 1.0, minus 1."""
    if not dtype.is_float:
        raise DTypeError(f"{name}: dtype is {dtype}; it is a float type")
    words = _bits(name, key, shape, _BITS[dtype])
    layout = DTYPES[f"u{dtype.bits}"]
    spare = _BITS[dtype].bits - _MANTISSA[dtype]
    mantissa = SHIFT_RIGHT_LOGICAL(words, full_like(words, spare))
    if layout != words.dtype:
        mantissa = CONVERT(mantissa, dtype=layout)
    one = int(np.ones((), dtype.numpy).view(layout.numpy))
    number = BITCAST_CONVERT(OR(mantissa, full_like(mantissa, one)), dtype=dtype)
    return ADD(number, full_like(number, -1.0))


def _scaled(unit: Tracer, minval: object, maxval: object, dtype: DType) -> Tracer:
    """[0, 1) to [minval, maxval), all arithmetic in ``dtype``."""
    if isinstance(minval, float | int) and isinstance(maxval, float | int):
        with np.errstate(all="ignore"):
            low, high = np.asarray([minval, maxval]).astype(dtype.numpy)
            span = high - low
        a, width = (wrap(constant(np.asarray(v), dtype)) for v in (low, span))
    else:
        a, b = (wrap(as_node(v, dtype, "uniform: bound")) for v in (minval, maxval))
        width = b - a
    return mnp.maximum(a, unit * width + a)


def _bitcast(x: Tracer, dtype: DType) -> Tracer:
    return x if x.dtype == dtype else wrap(BITCAST_CONVERT(x.node, dtype=dtype))


def _threefry(first: Node, second: Node, low: Node) -> tuple[Node, Node]:
    """Threefry-2x32 of the counter (0, low) with the key (first, second), all u32 of rank 0."""
    keys = (first, second, XOR(XOR(first, second), full_like(first, PARITY)))
    x, y = keys[0], ADD(low, keys[1])
    for group in range(5):
        for rotation in ROTATIONS[group % 2]:
            x = ADD(x, y)
            left = SHIFT_LEFT(y, full_like(y, rotation))
            y = XOR(OR(left, SHIFT_RIGHT_LOGICAL(y, full_like(y, 32 - rotation))), x)
        x = ADD(x, keys[(group + 1) % 3])
        y = ADD(ADD(y, keys[(group + 2) % 3]), full_like(y, group + 1))
    return x, y


def _polynomial(x: Tracer, coefficients: Sequence[float]) -> Tracer:
    """Horner's rule, highest power first."""
    result = mnp.full_like(x, coefficients[0])
    for c in coefficients[1:]:
        result = result * x + c
    return result


# (w below this, subtracted from w or its root, whether of the root, coefficients from the highest power down)
_GILES_32 = (
    (5.0, 2.5, False, (
        2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503, -0.00417768164,
        0.246640727, 1.50140941)),
    (float("inf"), 3.0, True, (
        -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613, 0.00943887047,
        1.00167406, 2.83297682)),
)  # fmt: skip
_GILES_64 = (
    (6.25, 3.125, False, (
        -3.6444120640178196996e-21, -1.685059138182016589e-19, 1.2858480715256400167e-18, 1.115787767802518096e-17,
        -1.333171662854620906e-16, 2.0972767875968561637e-17, 6.6376381343583238325e-15, -4.0545662729752068639e-14,
        -8.1519341976054721522e-14, 2.6335093153082322977e-12, -1.2975133253453532498e-11, -5.4154120542946279317e-11,
        1.051212273321532285e-09, -4.1126339803469836976e-09, -2.9070369957882005086e-08, 4.2347877827932403518e-07,
        -1.3654692000834678645e-06, -1.3882523362786468719e-05, 0.0001867342080340571352, -0.00074070253416626697512,
        -0.0060336708714301490533, 0.24015818242558961693, 1.6536545626831027356)),
    (16.0, 3.25, True, (
        2.2137376921775787049e-09, 9.0756561938885390979e-08, -2.7517406297064545428e-07, 1.8239629214389227755e-08,
        1.5027403968909827627e-06, -4.013867526981545969e-06, 2.9234449089955446044e-06, 1.2475304481671778723e-05,
        -4.7318229009055733981e-05, 6.8284851459573175448e-05, 2.4031110387097893999e-05, -0.0003550375203628474796,
        0.00095328937973738049703, -0.0016882755560235047313, 0.0024914420961078508066, -0.0037512085075692412107,
        0.005370914553590063617, 1.0052589676941592334, 3.0838856104922207635)),
    (float("inf"), 5.0, True, (
        -2.7109920616438573243e-11, -2.5556418169965252055e-10, 1.5076572693500548083e-09, -3.7894654401267369937e-09,
        7.6157012080783393804e-09, -1.4960026627149240478e-08, 2.9147953450901080826e-08, -6.7711997758452339498e-08,
        2.2900482228026654717e-07, -9.9298272942317002539e-07, 4.5260625972231537039e-06, -1.9681778105531670567e-05,
        7.5995277030017761139e-05, -0.00021503011930044477347, -0.00013871931833623122026, 1.0103004648645343977,
        4.8499064014085844221)),
)  # fmt: skip
