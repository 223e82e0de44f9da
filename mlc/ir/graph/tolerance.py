"""How far a result may be from the exact one: the one table of tolerances, applied as a running error bound.

`expected(graph, arrays)` evaluates a graph in f64 and carries beside each element a bound of how far any correct
compilation may be from it: operands' errors grown by the operation (its value at the ends of their intervals), plus
this operation's own error from the table. Integers and bools are exact, or open where an uncertain float decides them
(a compare of two numbers whose intervals meet). So code may contract to fma, reassociate sums and keep bf16 in f32, and
nothing else. An infinite bound means "not decided".
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mlc.ir.dims import evaluate_size
from mlc.ir.graph import (
    ADD,
    MAXIMUM,
    MINIMUM,
    REGIONS,
    Graph,
    Node,
    Op,
    Table,
    body_of,
    combiner_of,
    convolution_axes,
    overwrite_of,
    reducer_of,
)  # fmt: skip
from mlc.ir.graph.control import branch_of
from mlc.ir.graph.evaluate import bind_sizes, evaluate_node
from mlc.ir.types import DTYPES, F32, F64, DType, TensorType, TupleType, ValueType

Array = npt.NDArray[Any]

# dtype -> (unit roundoff, smallest normal, largest finite). Sums of f16 and bf16 are kept in f32 and rounded once.
FORMATS: dict[str, tuple[float, float, float]] = {
    "f16": (2.0**-11, 2.0**-14, 65504.0),
    "bf16": (2.0**-8, 2.0**-126, float(0xFF << 120)),
    "f32": (2.0**-24, 2.0**-126, float(0xFFFFFF << 104)),
    "f64": (2.0**-53, 2.0**-1022, float(0x1FFFFFFFFFFFFF << 971)),
}
TF32 = 2.0**-10
"""What a target that ends in -tf32 may leave out of each f32 operand of a product: all but 10 bits of its fraction."""
# Units in the last place (of the result, or of 1 for sine, cosine and of 1 + tan^2 for tan) that a row may be off by.
# Rows that are not here are exactly rounded: half a unit.
ULPS: dict[str, float] = {
    "exponential": 4, "exponential_minus_one": 4, "log": 4, "log_plus_one": 4, "tanh": 6, "logistic": 6, "erf": 6,
    "sine": 4, "cosine": 4, "tan": 8, "power": 16, "rsqrt": 3, "atan2": 4, "cbrt": 4,
}  # fmt: skip
PLACED = {"gather": (0,), "scatter": (0, 2), "dynamic_slice": (0,), "dynamic_update_slice": (0, 1)}
"""Rows that move elements of these operands to or from where the other operands say."""
MOVES = {"broadcast_in_dim", "reshape", "transpose", "slice", "pad", "concatenate", "reverse", "copy",
         "optimization_barrier"}  # fmt: skip
ROUNDED = {"add", "subtract", "multiply", "divide", "sqrt", "convert"}  # exact operands give a known result


@dataclass(frozen=True)
class Expected:
    """The wanted values (f64 for floats, else as they are) and how far from each a result may be."""

    want: Array
    bound: Array
    dtype: DType

    def check(self, got: Array, what: str) -> None:
        """AssertionError for the element that is farthest outside its bound."""
        assert got.dtype == self.dtype.numpy and got.shape == self.want.shape, (
            f"{what}: got {got.dtype}{list(got.shape)}, want {self.dtype}{list(self.want.shape)}"
        )
        wrong = self.outside(got)
        if np.any(wrong):
            index = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise AssertionError(
                f"{what}: {int(wrong.sum())} of {wrong.size} elements are out of bounds; at {list(index)} got "
                f"{got[index]!r}, want {self.want[index]!r} within {self.bound[index]:.3g}"
            )

    def outside(self, got: Array) -> Array:
        decided = np.isfinite(self.bound)
        if not self.dtype.is_float:
            return np.asarray((got != self.want) & decided)
        with np.errstate(all="ignore"):
            have, want = got.astype(np.float64), self.want
            near = (np.abs(have - want) <= self.bound) | (have == want) | (np.isnan(have) & np.isnan(want))
        return np.asarray(~near & decided)


def expected(
    graph: Graph, arrays: Sequence[Array], sizes: Mapping[str, int] | None = None, *, tf32: bool = False
) -> list[Expected]:
    """What any correct compilation of ``graph`` gives for these arrays, and how exactly; ``tf32``: the target's."""
    known = _Known(bind_sizes(graph, list(arrays), sizes or {}), tf32)
    exact = [_exact(np.asarray(a), p.tensor.dtype) for a, p in zip(arrays, graph.parameters, strict=True)]
    return _graph(graph, exact, known)


def assert_close(
    graph: Graph, arrays: Sequence[Array], got: Sequence[Array], what: str = "", *, tf32: bool = False
) -> None:
    """Every result in ``got`` is one that ``graph`` may give."""
    wanted = expected(graph, arrays, tf32=tf32)
    assert len(got) == len(wanted)
    for i, (have, want) in enumerate(zip(got, wanted, strict=True)):
        want.check(np.asarray(have), f"{what or graph.name}: result {i} ({graph.results[i].op.name})")


Value = Any  # an Expected, or a tuple of them


@dataclass(frozen=True)
class _Known:
    """What all nodes of a graph share: the values of its symbolic sizes, and whether products of f32 are in tf32."""

    sizes: Mapping[str, int]
    tf32: bool


def _graph(graph: Graph, arguments: Sequence[Value], known: _Known) -> list[Value]:
    values = dict(zip(graph.parameters, arguments, strict=True))
    for node in graph.nodes:
        if node in values:
            continue
        operands = [values[o] for o in node.operands]
        if node.op.name in REGIONS:
            results = _graph(node[REGIONS[node.op.name]], operands, known)
            values[node] = tuple(results) if isinstance(node.type, TupleType) else results[0]
        elif node.op.name in ("case", "while"):
            results = (_case if node.op.name == "case" else _while)(node, operands, known)
            values[node] = tuple(results) if isinstance(node.type, TupleType) else results[0]
        else:
            values[node] = _node(node, operands, known)
    return [values[r] for r in graph.results]


def _case(node: Node, operands: list[Value], known: _Known) -> list[Value]:
    """The branch that the index decides; nothing is known where the index is not."""
    index, branches = operands[0], node["branches"]
    if index.bound.any():
        return _open(node, known.sizes)
    return _graph(branches[branch_of(int(index.want), len(branches))], operands[1:], known)


def _while(node: Node, operands: list[Value], known: _Known) -> list[Value]:
    """Trip by trip; nothing is known once the condition is not."""
    while True:
        (go,) = _graph(node["cond"], operands, known)
        if go.bound.any():
            return _open(node, known.sizes)
        if not go.want:
            return operands
        operands = _graph(node["body"], operands, known)


def _open(node: Node, sizes: Mapping[str, int]) -> list[Value]:
    """Results that may be anything."""
    types = node.type.elements if isinstance(node.type, TupleType) else (node.type,)
    tensors = [t for t in types if isinstance(t, TensorType)]
    shapes = [tuple(evaluate_size(n, sizes) for n in t.shape) for t in tensors]
    return [
        Expected(np.zeros(s, np.float64 if t.dtype.is_float else t.dtype.numpy), np.full(s, np.inf), t.dtype)
        for s, t in zip(shapes, tensors, strict=True)
    ]


def _node(node: Node, operands: list[Value], known: _Known) -> Value:
    sizes = known.sizes
    if node.op.name == "sort":
        from .tolerance_sort import sorted_values

        found = sorted_values(node, operands)
        return tuple(found) if len(found) > 1 else found[0]
    if isinstance(node.type, TupleType):  # random bits: exact, from an exact key
        arrays = evaluate_node(node, [o.want for o in operands], sizes)
        open_ = any(np.any(o.bound != 0) for o in operands)
        return tuple(
            Expected(a, np.full(a.shape, np.inf if open_ else 0.0), t.dtype)
            for a, t in zip(arrays, node.type.elements, strict=True)
            if isinstance(t, TensorType)
        )
    if node.op.name == "get_tuple_element":
        return operands[0][node["index"]]
    with np.errstate(all="ignore"):
        name, shape = node.op.name, tuple(evaluate_size(n, sizes) for n in node.shape)
        if name in MOVES or not operands:
            want = _wide(node, [o.want for o in operands], sizes)
            bound = np.zeros(shape) if not operands else _moved(node, [o.bound for o in operands], sizes)
            return Expected(want, bound, node.dtype) if operands else _exact_of(want, node.dtype)
        if name in PLACED:
            return _placed(node, operands, sizes)
        if name in ("reduce_window", "select_and_gather", "select_and_scatter"):
            from .tolerance_windows import windows

            return windows(node, operands, sizes)
        if not node.dtype.is_float and name != "reduce":
            return _discrete(node, operands, sizes)
        if name == "reduce":
            return _reduce(node, operands[0], operands[1], sizes)
        if name in ("dot_general", "convolution"):
            return _dot(node, operands[0], operands[1], known)
        if name == "select":
            return _select(operands[0], operands[1], operands[2], node.dtype)
        if name == "bitcast_convert":
            return _to_float_bits(node, operands[0], sizes)
        return _smooth(node, operands, sizes)


def _exact(array: Array, dtype: DType) -> Expected:
    return Expected(array.astype(np.float64) if dtype.is_float else array, np.zeros(array.shape), dtype)


def _exact_of(want: Array, dtype: DType) -> Expected:
    """A value that the row gives in f64 and every compilation gives rounded (iota of 300 in bf16)."""
    cast = want.astype(dtype.numpy).astype(np.float64) if dtype.is_float else want
    return _exact(cast, dtype)


# ---------------------------------------------------------------- rows in f64


def _wide(node: Node, arrays: Sequence[Array], sizes: Mapping[str, int]) -> Array:
    """The node's row on f64 in place of every float."""
    table = Table()
    attributes = dict(node.attributes)
    if isinstance(attributes.get("dtype"), DType) and attributes["dtype"].is_float:
        attributes["dtype"] = F64
    if node.op.name == "constant":
        return np.asarray(evaluate_node(node, [], sizes)).astype(
            np.float64 if node.dtype.is_float else node.dtype.numpy
        )
    operands = [table.parameter(_widened(o.type)) for o in node.operands]
    wide = table.make(node.op, tuple(operands), _widened(node.type), attributes)
    return np.asarray(evaluate_node(wide, arrays, sizes))


def _widened(type: ValueType) -> ValueType:
    return type.with_dtype(F64) if isinstance(type, TensorType) and type.dtype.is_float else type


def _moved(node: Node, bounds: Sequence[Array], sizes: Mapping[str, int]) -> Array:
    """The operands' bounds moved as their elements are."""
    table = Table()
    operands = [table.parameter(o.tensor.with_dtype(F64)) for o in node.operands]
    wide = table.make(node.op, tuple(operands), node.tensor.with_dtype(F64), node.attributes)
    return np.asarray(evaluate_node(wide, bounds, sizes))


# ---------------------------------------------------------------- floats


def _smooth(node: Node, operands: list[Expected], sizes: Mapping[str, int]) -> Expected:
    """Elementwise floats: the spread of the row over the corners of the operands' intervals, and its own error.

    Every row here is monotone in each operand over an interval that it is continuous on; those that are not (remainder,
    tan, sine, a division across zero) are bounded by hand.
    """
    name = node.op.name
    want = _wide(node, [o.want for o in operands], sizes)
    spread, certain = np.zeros(want.shape), np.ones(want.shape, bool)
    if any(np.any(o.bound != 0) for o in operands):
        for signs in itertools.product((-1, 1), repeat=len(operands)):
            corner = _wide(node, [_shifted(o, s) for o, s in zip(operands, signs, strict=True)], sizes)
            spread = np.fmax(spread, np.where(np.isnan(corner - want), 0, np.abs(corner - want)))
            certain &= (
                (corner == want) | (np.isnan(corner) & np.isnan(want)) | (np.isfinite(corner) & np.isfinite(want))
            )
    spread = _by_hand(name, operands, want, spread)
    bound = spread * (1 + 2.0**-40) + _own_error(node, operands, want, spread)
    bound = np.where(np.isfinite(want) & certain, bound, np.where(certain, 0.0, np.inf))
    unknown = np.any([np.isnan(o.bound) | np.isinf(o.bound) for o in operands], axis=0)
    return _limited(want, np.where(unknown | np.isinf(spread), np.inf, bound), node.dtype)


def _shifted(value: Expected, sign: int) -> Array:
    """One end of each element's interval; integers are exact or open and stay."""
    if not value.dtype.is_float:
        return value.want
    return np.where(np.isfinite(value.bound), value.want + sign * value.bound, value.want)


def _by_hand(name: str, operands: list[Expected], want: Array, spread: Array) -> Array:
    """The spread of rows that are not monotone over an interval."""
    e = [o.bound for o in operands]
    x = operands[0].want
    inexact = np.any([b > 0 for b in e], axis=0)
    if name in ("sine", "cosine"):
        return np.minimum(np.where(np.isfinite(x), e[0], 0), 2)
    if name == "tan":
        turn = np.floor((x - e[0]) / np.pi + 0.5) != np.floor((x + e[0]) / np.pi + 0.5)
        return np.where(inexact & turn, np.inf, spread)
    if name == "divide":
        return np.where((np.abs(operands[1].want) <= e[1]) & (e[1] > 0), np.inf, spread)
    if name == "rsqrt":
        return np.where((np.abs(x) <= e[0]) & (e[0] > 0), np.inf, spread)
    if name == "power":
        return np.where(inexact & ((x <= e[0]) | ~np.isfinite(x)), np.inf, spread)
    if name == "atan2":  # the angle jumps where y crosses zero on the left
        on_line = (np.abs(x) <= e[0]) & (operands[1].want <= e[1])
        return np.where(inexact & on_line, np.inf, spread)
    if name == "remainder":
        y = operands[1].want
        ends = [np.trunc((x + s * e[0]) / (y + t * e[1])) for s in (-1, 1) for t in (-1, 1)]
        same = np.all([q == ends[0] for q in ends], axis=0)
        return np.where(inexact, np.where(same, spread, np.inf), 0.0)
    if name in ("floor", "ceil", "round_nearest_even", "round_nearest_afz", "sign"):
        return spread
    return spread


def _own_error(node: Node, operands: list[Expected], want: Array, spread: Array) -> Array:
    """What the operation itself may add: nothing where it is exact, half a unit or the table's units elsewhere."""
    name, (unit, tiny, _) = node.op.name, FORMATS[node.dtype.name]
    least = tiny * (unit * 2)
    if name in (
        "negate",
        "abs",
        "maximum",
        "minimum",
        "clamp",
        "floor",
        "ceil",
        "round_nearest_even",
        "round_nearest_afz",
        "sign",
        "remainder",
    ):
        return np.zeros(want.shape)
    if name == "convert" and _fits(operands[0].dtype, node.dtype):
        return np.zeros(want.shape)
    scale = np.abs(want) + spread
    if name in ("sine", "cosine"):
        scale = np.ones(want.shape)
    if name == "tan":
        scale = 1 + want * want
    if name == "power":
        product = operands[1].want * np.log(np.abs(operands[0].want))
        scale = scale * (1 + np.where(np.isfinite(product), np.abs(product), 0))
    general = ULPS.get(name, 0.5) * 2 * unit * scale + least
    if node.dtype == F64:  # the wanted value is rounded, too
        general = 2 * general
    if name not in ROUNDED or node.dtype == F64:
        return general
    exact = np.all([o.bound == 0 for o in operands], axis=0)
    rounding = np.abs(want - want.astype(node.dtype.numpy).astype(np.float64)) * (1 + 2.0**-12)
    return np.where(exact & np.isfinite(rounding) & (name not in ULPS), rounding, general)


def _fits(source: DType, target: DType) -> bool:
    """Whether every value of ``source`` is one of ``target``."""
    digits = {"f16": 11, "bf16": 8, "f32": 24, "f64": 53}
    if source.is_float:
        return target.name == source.name or target == F64 or (target == F32 and source.bits == 16)
    return source.bits <= digits[target.name]


def _limited(want: Array, bound: Array, dtype: DType) -> Expected:
    """Open the elements that may or may not overflow; those that do are infinite."""
    unit, _, top = FORMATS[dtype.name]
    edge = top * (1 + unit)
    finite = np.isfinite(want)
    if dtype == F64:  # want has overflowed already where it does
        near = finite & (np.abs(want) > top * (1 - 2.0**-20))
        return Expected(want, np.where(near, np.inf, bound), dtype)
    over = finite & (np.abs(want) - bound > edge)
    open_ = finite & ~over & (np.abs(want) + bound >= edge * (1 - 2.0**-30))
    if dtype != F32:  # kept in f32, it need not overflow
        open_ |= over
    want = np.where(over & ~open_, np.copysign(np.inf, want), want)
    return Expected(want, np.where(open_, np.inf, np.where(over, 0.0, bound)), dtype)


def _select(pred: Expected, x: Expected, y: Expected, dtype: DType) -> Expected:
    want = np.where(pred.want, x.want, y.want)
    bound = np.where(pred.want, x.bound, y.bound)
    gap = np.abs(x.want - y.want) + np.maximum(x.bound, y.bound)
    either = np.where(np.isfinite(x.want) & np.isfinite(y.want), gap, np.inf)
    return Expected(want, np.where(pred.bound > 0, either, bound), dtype)


def _to_float_bits(node: Node, x: Expected, sizes: Mapping[str, int]) -> Expected:
    if x.dtype.is_float:
        if x.dtype == node.dtype:
            return x
        typed = evaluate_node(node, [x.want.astype(x.dtype.numpy)], sizes)
        open_ = (x.bound > 0) | np.isnan(x.want)
    else:
        typed, open_ = evaluate_node(node, [x.want], sizes), x.bound > 0
    return Expected(np.asarray(typed).astype(np.float64), np.where(open_, np.inf, 0.0), node.dtype)


# ---------------------------------------------------------------- integers and bools


def _discrete(node: Node, operands: list[Expected], sizes: Mapping[str, int]) -> Expected:
    """Exact where every operand that decides it is; open elsewhere."""
    name = node.op.name
    if name == "get_dimension_size":
        return _exact(np.asarray(evaluate_node(node, [o.want for o in operands], sizes)), node.dtype)
    floats = any(o.dtype.is_float for o in operands)
    if name in ("dot_general", "convolution"):
        uncertain = any(np.any(o.bound > 0) for o in operands)
        want = evaluate_node(node, [o.want for o in operands], sizes)
        return Expected(want, np.full(want.shape, np.inf if uncertain else 0.0), node.dtype)
    typed = [
        o.want.astype(o.dtype.numpy) if o.dtype.is_float and name == "bitcast_convert" else o.want for o in operands
    ]
    want = evaluate_node(node, typed, sizes) if name == "bitcast_convert" else _wide(node, typed, sizes)
    if not floats:
        open_ = np.any([o.bound > 0 for o in operands], axis=0)
        if name == "select":  # an open branch not taken does not matter
            p, x, y = operands
            open_ = np.where(p.want, x.bound > 0, y.bound > 0) | ((p.bound > 0) & (x.want != y.want))
    elif name == "bitcast_convert":
        open_ = (operands[0].bound > 0) | np.isnan(operands[0].want)
    elif name == "compare":
        x, y = operands
        width = x.bound + y.bound
        open_ = ((np.abs(x.want - y.want) <= width) & (width > 0)) | np.isinf(width)
    else:  # is_finite, convert: the same at both ends
        ends = [_wide(node, [_shifted(o, s) for o in operands], sizes) for s in (-1, 1)]
        open_ = (ends[0] != want) | (ends[1] != want) | np.isinf(operands[0].bound)
    return Expected(want, np.where(open_, np.inf, 0.0), node.dtype)


# ---------------------------------------------------------------- computed places


def _placed(node: Node, operands: list[Expected], sizes: Mapping[str, int]) -> Expected:
    """Elements that indices place; all open where an index is. Sums round once for each update of an element."""
    want = _wide(node, [o.want for o in operands], sizes)
    moved = PLACED[node.op.name]
    if any(np.any(o.bound > 0) for k, o in enumerate(operands) if k not in moved):
        return Expected(want, np.full(want.shape, np.inf), node.dtype)
    op = combiner_of(node["body"]) if node.op.name == "scatter" else None
    bounds = _place(node, [o.bound for o in operands], operands, op and (ADD if op is ADD else MAXIMUM), sizes)
    if op is None or not node.dtype.is_float:
        return Expected(want, bounds, node.dtype)
    if op is ADD:
        unit, tiny, top = FORMATS[node.dtype.name]
        starts = [np.full(o.want.shape, float(k == 2)) for k, o in enumerate(operands)]
        counts = _place(node, starts, operands, ADD, sizes)
        total = _place(node, [np.abs(o.want) for o in operands], operands, ADD, sizes) + bounds
        bounds = bounds + counts * (unit * total * (1 + 2.0**-20) + tiny)
        bounds = np.where(total * (1 + unit) ** np.minimum(counts, 1000) >= top, np.inf, bounds)
    elif op not in (MAXIMUM, MINIMUM):
        bounds = np.full(want.shape, np.inf)
    certain = np.isfinite(want) | np.isinf(_place(node, [o.bound for o in operands], operands, MAXIMUM, sizes))
    return _limited(want, np.where(certain, bounds, 0.0), node.dtype)


def _place(
    node: Node, arrays: Sequence[Array], operands: list[Expected], op: Op | None, sizes: Mapping[str, int]
) -> Array:
    """The row on arrays of f64 in place of what it moves; a scatter combines by ``op``."""
    table, moved = Table(), PLACED[node.op.name]
    types = [o.tensor.with_dtype(F64) if k in moved else o.tensor for k, o in enumerate(node.operands)]
    attributes = dict(node.attributes)
    if node.op.name == "scatter":
        attributes["body"] = overwrite_of(F64) if op is None else body_of(op, F64)
    wide = table.make(node.op, tuple(map(table.parameter, types)), node.tensor.with_dtype(F64), attributes)
    given = [a if k in moved else o.want for k, (a, o) in enumerate(zip(arrays, operands, strict=True))]
    return np.asarray(evaluate_node(wide, given, sizes))


# ---------------------------------------------------------------- folds


def _reduce(node: Node, x: Expected, init: Expected, sizes: Mapping[str, int]) -> Expected:
    name, axes = reducer_of(node["body"]).name, node["dimensions"]
    want = _wide(node, [x.want, init.want], sizes)
    if not node.dtype.is_float:
        open_ = np.any(x.bound > 0, axis=axes) | (init.bound > 0)
        return Expected(want, np.where(open_, np.inf, np.zeros(want.shape)), node.dtype)
    worst = np.maximum(np.max(x.bound, axis=axes, initial=0.0), init.bound)
    if name in ("maximum", "minimum"):
        return _limited(want, np.where(np.isfinite(want) | (worst == 0), worst, np.inf), node.dtype)
    count = int(np.prod([x.want.shape[a] for a in axes], dtype=int)) + 1
    unit, tiny, _ = FORMATS[node.dtype.name]
    growth = count * _sum_unit(node.dtype)
    size_x, size_init = np.abs(x.want) + x.bound, np.abs(init.want) + init.bound
    if name == "add":
        total = np.sum(size_x, axis=axes) + size_init
        bound = np.sum(x.bound, axis=axes) + init.bound + growth * total * 1.01
        most, lost = total, np.zeros(total.shape)
    else:
        product = np.prod(size_x, axis=axes) * size_init
        bound = product * (1 + growth * 1.01) - np.prod(np.abs(x.want), axis=axes) * np.abs(init.want)
        most = np.prod(np.maximum(size_x, 1), axis=axes) * np.maximum(size_init, 1)
        lost = np.prod(np.minimum(np.where(x.want == 0, 1, np.abs(x.want)), 1), axis=axes) * np.minimum(
            np.abs(init.want), 1
        )
        lost = np.where((lost > 0) & (lost < tiny), np.inf, 0.0) + count * tiny * (unit * 2)
    return _folded(node, want, bound + lost, most, worst)


def _dot(node: Node, x: Expected, y: Expected, known: _Known) -> Expected:
    sizes, cut = known.sizes, known.tf32 and x.dtype == y.dtype == F32
    worst = np.max(x.bound, initial=0.0) + np.max(y.bound, initial=0.0)
    x, y = (_cut(x), _cut(y)) if cut else (x, y)
    want = _wide(node, [x.want, y.want], sizes)
    size_x, size_y = np.abs(x.want) + x.bound, np.abs(y.want) + y.bound
    total = _wide(node, [size_x, size_y], sizes)
    spread = _wide(node, [size_x, y.bound], sizes) + _wide(node, [x.bound, size_y], sizes)
    count = _products(node, x.want, y.want) + 1
    tiny, unit = FORMATS[node.dtype.name][1], FORMATS[node.dtype.name][0]
    bound = spread + count * _sum_unit(node.dtype) * total * 1.01 + count * tiny * (unit * 2)
    worst = np.full(want.shape, worst)
    if node.op.name == "convolution" and not np.isfinite(y.want).all():
        # whether a weight meets the padding by a product with 0 or by none is open: 0 * inf is no number
        worst = np.where(np.isnan(want), np.inf, worst)
    return _folded(node, want, bound, total, worst)


def _cut(value: Expected) -> Expected:
    """A value of which a matrix unit reads 10 bits of fraction."""
    return replace(value, bound=value.bound + TF32 * (np.abs(value.want) + value.bound))


def _products(node: Node, x: Array, y: Array) -> int:
    """How many products one element sums."""
    if node.op.name == "convolution":
        return int(y.size // max(1, y.shape[convolution_axes(node["dimension_numbers"]).rhs.outer]))
    return int(np.prod([x.shape[a] for a in node["lhs_contracting"]], dtype=int))


def _folded(node: Node, want: Array, bound: Array, most: Array, worst: Array) -> Expected:
    """Add the last rounding; open what may overflow on the way, or is no number where operands are uncertain."""
    unit, tiny, top = FORMATS[node.dtype.name]
    bound = bound + unit * (np.abs(want) + bound) + tiny * (unit * 2)
    limit = FORMATS["f32"][2] if node.dtype.bits == 16 else top
    over = np.isfinite(want) & (most * (1 + 2.0**-10) >= limit)
    settled = np.where(np.isfinite(want), bound, np.where(worst == 0, 0.0, np.inf))
    if node.dtype == F64:
        settled = np.where(np.isinf(most) & ~np.isfinite(want), np.inf, settled)
    return _limited(want, np.where(over | np.isnan(settled), np.inf, settled), node.dtype)


def _sum_unit(dtype: DType) -> float:
    return FORMATS["f32" if dtype.bits == 16 else dtype.name][0] * (2 if dtype == F64 else 1)


assert set(FORMATS) == {t.name for t in DTYPES.values() if t.is_float}
