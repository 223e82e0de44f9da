"""Lift: what Python hands to an operation (tracers, numbers, NumPy and mlc arrays) to nodes of the active table."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from mlc.errors import ArgumentError, DTypeError, notice
from mlc.ir.dims import Dim
from mlc.ir.graph import CONSTANT, CONVERT, constant, size_value
from mlc.ir.graph.node import Literal, Node
from mlc.ir.types import BOOL, F32, F64, I64, DType, TensorType, dtype_of, scalar

from .location import user_location
from .spec import ShapeDtype
from .tracer import Trace, Tracer, current_trace, leaked


class ExactFloat(np.float64):
    """A Python float beside f64 arrays, kept in their width; no f64 data of the user's."""


_noticed: set[tuple[str, int]] = set()


def as_node(x: object, dtype: DType | None = None, name: str = "operand") -> Node:
    """The node of ``x`` in the active table, converted to ``dtype`` where one is given.

    A symbolic size is its value at run time; numbers and sizes are i64, f32 or bool unless ``dtype`` says otherwise.
    Raises TracerError for a tracer of another trace, ArgumentError (with ``name``) for what is no array.
    """
    if isinstance(x, Tracer):
        node = _node_here(x)
    elif isinstance(x, int | float) and not isinstance(x, np.generic):
        return _number(x, dtype, name)
    elif isinstance(x, Dim):
        node = size_value(x)
    else:
        node = _host_constant(x, name)
    if dtype is not None and node.dtype != dtype:
        return CONVERT(node, dtype=dtype)
    return node


def as_tracer(x: object, dtype: DType | None = None, name: str = "operand") -> Tracer:
    """``x`` as a tracer of the active table; numbers stay weak unless ``dtype`` is given."""
    if isinstance(x, Tracer) and dtype is None and x.trace is current_trace():
        return x
    weak = dtype is None and describe(x, name)[1]
    return Tracer(as_node(x, dtype, name), current_trace(), weak)


def describe(x: object, name: str = "operand") -> tuple[TensorType, bool]:
    """The type of ``x`` and whether it is weak: Python numbers and sizes are, and tracers made from them alone.

    Raises ArgumentError (with ``name``) for what is no array or number, DTypeError for elements mlc does not have.
    """
    if isinstance(x, Tracer):
        return x.node.tensor, x.weak
    if isinstance(x, bool):
        return scalar(BOOL), False
    if isinstance(x, np.generic | np.ndarray):
        return TensorType(x.shape, _dtype_of_numpy(x.dtype, name)), False
    if isinstance(x, int | Dim):
        return scalar(I64), True
    if isinstance(x, float):
        return scalar(F32), True
    if isinstance(x, ShapeDtype):
        return x.type, False
    if is_array(x):
        return TensorType(tuple(x.shape), x.dtype), False  # type: ignore[attr-defined]
    raise ArgumentError(
        f"{name} is {_an(type(x).__name__)}, not an array or a number",
        hint="arrays are mlc.Array, NumPy arrays and traced values; make one with mlc.numpy.asarray",
    )


def is_array(x: object) -> bool:
    """Whether ``x`` is an mlc.Array (false without importing mlc.array, where nobody has)."""
    module = sys.modules.get("mlc.array")
    kind = getattr(module, "Array", None)
    return kind is not None and isinstance(x, kind)


def is_f64_data(x: object) -> bool:
    """Whether ``x`` is NumPy's and, if it is f64, the user should know."""
    return isinstance(x, np.ndarray | np.generic) and not isinstance(x, ExactFloat)


def notice_f64(what: str, depth: int = 1) -> None:
    """Say, once for each line of the user's program, that f64 data keeps its width."""
    here = user_location(depth)
    if (here.file, here.line) in _noticed:
        return
    _noticed.add((here.file, here.line))
    notice(f"{here}\n{what} is f64 and stays f64, which is slower than f32; hint: .astype('float32') before the call")


def _node_here(x: Tracer) -> Node:
    trace = current_trace()
    if x.trace is trace:
        return x.node
    if x.trace.ended:
        raise leaked(x)
    return _capture(x, trace)


def _capture(x: Tracer, trace: Trace) -> Node:
    """The parameter of ``trace`` that stands for the value ``x`` of a trace around it."""
    if trace.captures is None or trace.outer is None:
        raise leaked(x)
    found = trace.captures.get(x.node)
    if found is None:
        if x.trace is not trace.outer:  # through every trace in between
            with trace.outer.table.active():
                through = Tracer(_node_here(x), trace.outer, x.weak)
        else:
            through = x
        found = trace.captures[x.node] = (through, trace.table.parameter(x.node.type, "captured"))
    return found[1]


def _number(x: float, dtype: DType | None, name: str) -> Node:
    if dtype is None:
        dtype = BOOL if isinstance(x, bool) else I64 if isinstance(x, int) else F32
    if dtype.is_integer and not isinstance(x, bool):
        info = np.iinfo(dtype.numpy.name)
        if not info.min <= x <= info.max:
            raise DTypeError(f"{name} {x} does not fit in {dtype.name}, which holds {info.min} to {info.max}",
                             hint="convert the array to a wider type with .astype")  # fmt: skip
    with np.errstate(all="ignore"):
        return constant(np.asarray(x).astype(dtype.numpy), dtype)


def _host_constant(x: Any, name: str) -> Node:
    type = describe(x, name)[0]
    if isinstance(x, ShapeDtype):
        raise ArgumentError(f"{name} is {x}: a description, which has no data")
    trace = current_trace()
    known = trace.constants.get(id(x))
    if known is not None and known[0] is x and not (isinstance(x, np.ndarray) and _has_changed(x, known[1])):
        return known[1]
    if type.dtype is F64 and is_f64_data(x):
        notice_f64(f"{name}, NumPy data {type},", 2)
    host = isinstance(x, np.ndarray | np.generic)
    data = np.array(x, order="C") if host else np.asarray(x)  # a snapshot: the program may change its NumPy array later
    node = CONSTANT(value=Literal(data, type.dtype))
    trace.constants[id(x)] = (x, node)
    return node


def _has_changed(x: np.ndarray[Any, Any], constant: Node) -> bool:
    """Whether the program has written to ``x`` since ``constant`` was made of it."""
    before = constant["value"].array.reshape(-1).view(np.uint8)
    return not np.array_equal(np.ascontiguousarray(x).reshape(-1).view(np.uint8), before)


def _dtype_of_numpy(dtype: np.dtype[Any], name: str) -> DType:
    try:
        return dtype_of(dtype)
    except TypeError:
        raise DTypeError(f"{name} has elements of type {dtype}, which mlc does not have",
                         hint="mlc has f16 bf16 f32 f64 i8 to i64 u8 to u64 and bool") from None  # fmt: skip


def _an(word: str) -> str:
    return f"an {word}" if word[0].lower() in "aeiou" else f"a {word}"
