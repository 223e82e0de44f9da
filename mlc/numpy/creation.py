"""Functions that make arrays: filled, counted, identity, and from Python or NumPy data."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from mlc import tree
from mlc.errors import ArgumentError
from mlc.ir.dims import Dim, Size
from mlc.ir.graph import ADD, COMPARE, CONVERT, IOTA, MULTIPLY, SELECT, fill
from mlc.ir.graph import full_like as fill_like
from mlc.ir.graph.elementwise import saturating_cast
from mlc.ir.graph.node import Node, has_active_table
from mlc.ir.types import F32, I64, DType, TensorType
from mlc.tracing.lift import as_node, describe, is_array
from mlc.tracing.spec import ShapeDtype, element_type
from mlc.tracing.tracer import Tracer, leaked

from .dispatch import operation
from .manipulation import stack
from .promotion import broadcast_node, wrap

Sizes = Size | Sequence[Size]
Data = npt.NDArray[Any]


def _filled(shape: Sizes, dtype: object, value: float) -> Data | None:
    type = ShapeDtype(shape, dtype).type
    return _of_value(value, type) if type.is_static else None


def _of_value(value: float, type: TensorType) -> Data:
    return np.full(cast(tuple[int, ...], type.shape), value, type.dtype.numpy)


@operation(host=lambda shape, dtype=F32: _filled(shape, dtype, 0))
def zeros(shape: Sizes, dtype: object = F32) -> Tracer:
    """Zeros of a ``shape`` (one size or several). Raises ArgumentError for a negative size.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.zeros((2, 2)).tolist()
        [[0.0, 0.0], [0.0, 0.0]]
    """
    return wrap(fill(0, ShapeDtype(shape, dtype).type))


@operation(host=lambda shape, dtype=F32: _filled(shape, dtype, 1))
def ones(shape: Sizes, dtype: object = F32) -> Tracer:
    """Ones of a ``shape`` (one size or several). Raises ArgumentError for a negative size.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.ones(3, "i64").tolist()
        [1, 1, 1]
    """
    return wrap(fill(1, ShapeDtype(shape, dtype).type))


empty = zeros


def _full_of_number(fill_value: object, shape: Sizes, dtype: object = None) -> Data | None:
    """Of a number that the element type holds."""
    if not isinstance(fill_value, int | float) or isinstance(fill_value, np.generic):
        return None
    own = describe(fill_value)[0].dtype
    type = ShapeDtype(shape, own if dtype is None else dtype).type
    if not type.is_static or (type.dtype.is_integer and not _fits(fill_value, type.dtype)):
        return None
    return _of_value(fill_value, type)


def _fits(number: float, dtype: DType) -> bool:
    info = np.iinfo(dtype.numpy.name)
    return isinstance(number, int) and info.min <= number <= info.max


@operation("fill_value", host=_full_of_number)
def _full(fill_value: object, shape: Sizes, dtype: object = None) -> Tracer:
    type, _ = describe(fill_value, "full: fill_value")
    target = element_type(dtype) if dtype is not None else type.dtype
    return wrap(broadcast_node(as_node(fill_value, target), ShapeDtype(shape, target).shape))


def full(shape: Sizes, fill_value: object, dtype: object = None) -> Tracer:
    """``fill_value`` (a number or an array that broadcasts) in every element, of its own type or ``dtype``.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.full((2, 2), 7).tolist()
        [[7, 7], [7, 7]]
    """
    return _full(fill_value, tuple(shape) if isinstance(shape, Sequence) else shape, dtype)


@operation("x", host=lambda x, /, dtype=None: _of_value(0, _like_type(x, dtype)))
def zeros_like(x: object, /, dtype: object = None) -> Tracer:
    """Zeros in the shape of ``x`` and, unless ``dtype`` is given, in its type.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.zeros_like(mnp.asarray([1, 2])).tolist()
        [0, 0]
    """
    return _like(x, 0, dtype)


@operation("x", host=lambda x, /, dtype=None: _of_value(1, _like_type(x, dtype)))
def ones_like(x: object, /, dtype: object = None) -> Tracer:
    """Ones in the shape of ``x`` and, unless ``dtype`` is given, in its type.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.ones_like(mnp.asarray([3.0, 4.0])).tolist()
        [1.0, 1.0]
    """
    return _like(x, 1, dtype)


empty_like = zeros_like


@operation(
    "x", "fill_value", host=lambda x, v, /, dtype=None: _full_of_number(v, (t := _like_type(x, dtype)).shape, t.dtype)
)
def full_like(x: object, fill_value: object, /, dtype: object = None) -> Tracer:
    """``fill_value`` in the shape of ``x`` and, unless ``dtype`` is given, in its type.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.full_like(mnp.asarray([1.0, 2.0]), 7).tolist()
        [7.0, 7.0]
    """
    type = _like_type(x, dtype)
    return wrap(broadcast_node(as_node(fill_value, type.dtype), type.shape))


def _counted(start: Any, stop: Any = None, step: Any = 1, dtype: object = None) -> Data | None:
    target = I64 if dtype is None else element_type(dtype)
    if not target.is_integer or step == 0 or not all(n is None or type(n) is int for n in (start, stop, step)):
        return None
    numbers = range(0, start, step) if stop is None else range(start, stop, step)
    counted: Data = (numbers.start + numbers.step * np.arange(len(numbers), dtype=np.int64)).astype(target.numpy)
    return counted


@operation(host=_counted)
def arange(start: Any, stop: Any = None, step: Any = 1, dtype: object = None) -> Tracer:
    """``start``, ``start + step``, ... below ``stop`` (from 0 where one number is given), i64 or f32.

    The numbers are static; ``arange(n)`` takes a symbolic size, too. Raises ArgumentError for a step of 0.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.arange(2, 9, 3).tolist()
        [2, 5, 8]
    """
    for v in (start, stop, step):
        if isinstance(v, Tracer):
            operator.index(v)  # raises TracerError, which says where it was made
    start, stop = (0, start) if stop is None else (start, stop)
    given = [v for v in (start, stop, step) if not isinstance(v, Dim)]
    target = element_type(dtype) if dtype is not None else F32 if any(isinstance(v, float) for v in given) else I64
    if step == 0:
        raise ArgumentError("arange: the step is 0")
    if isinstance(stop, Dim) or isinstance(start, Dim):
        if step != 1:
            raise ArgumentError(f"arange: {start} to {stop} in steps of {step}: a symbolic size counts in steps of 1")
        count: Size = stop - start
    else:
        count = max(0, int(np.ceil((stop - start) / step)))
    wide = F32 if target.bits < 32 and target.is_float else target
    line = IOTA(shape=(count,), dtype=wide, dimension=0)
    if step != 1:
        line = MULTIPLY(line, fill_like(line, step))
    if isinstance(start, Dim):
        raise ArgumentError(f"arange: the start {start} is symbolic", hint="arange(stop - start) + start")
    if start != 0:
        line = ADD(line, fill_like(line, start))
    return wrap(line if wide == target else CONVERT(line, dtype=target))


def _spaced(start: float, stop: float, num: int, dtype: object = F32, *, endpoint: bool = True) -> Data:
    gaps = num - 1 if endpoint else num
    step = (stop - start) / gaps if gaps > 0 else 0.0
    values = start + step * np.arange(num, dtype=np.float64)
    if endpoint and num > 1:
        values[-1] = stop
    return values.astype(element_type(dtype).numpy)


@operation(host=_spaced)
def linspace(start: float, stop: float, num: int, dtype: object = F32, *, endpoint: bool = True) -> Tracer:
    """``num`` evenly spaced numbers from ``start`` to ``stop``, which is the last one with ``endpoint``.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.linspace(0, 1, 3).tolist()
        [0.0, 0.5, 1.0]
    """
    return wrap(as_node(_spaced(start, stop, num, dtype, endpoint=endpoint)))


def _ones_at(n_rows: Size, n_cols: Size | None = None, k: int = 0, dtype: object = F32) -> Data | None:
    shape = (n_rows, n_rows if n_cols is None else n_cols)
    static = ShapeDtype(shape, dtype).type.is_static
    return np.eye(int(shape[0]), int(shape[1]), k, element_type(dtype).numpy) if static else None  # type: ignore[arg-type]


@operation(host=_ones_at)
def eye(n_rows: Size, n_cols: Size | None = None, k: int = 0, dtype: object = F32) -> Tracer:
    """Ones where column - row is ``k``, zeros elsewhere.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.eye(2).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    shape = (n_rows, n_rows if n_cols is None else n_cols)
    return wrap(CONVERT(_diagonal(shape, "EQ", k), dtype=element_type(dtype)))


@operation("x")
def tril(x: object, /, k: int = 0) -> Tracer:
    """The last two axes' elements with column - row <= ``k``; zero elsewhere.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.tril(mnp.asarray([[1, 2], [3, 4]])).tolist()
        [[1, 0], [3, 4]]
    """
    return _triangle(x, "LE", k)


@operation("x")
def triu(x: object, /, k: int = 0) -> Tracer:
    """The last two axes' elements with column - row >= ``k``; zero elsewhere.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.triu(mnp.asarray([[1, 2], [3, 4]])).tolist()
        [[1, 2], [0, 4]]
    """
    return _triangle(x, "GE", k)


def asarray(x: object, /, dtype: object = None, *, copy: bool | None = None) -> Any:
    """An array of ``x``: a number, (nested) lists of numbers, a NumPy or mlc array, or a traced value.

    Python floats become f32 and ints i64; NumPy arrays keep their type. ``copy=False`` borrows NumPy memory outside
    of a trace. Raises ArgumentError for what is no array.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.asarray([1, 2.5])
        Array([1. , 2.5], dtype=f32)
    """
    if not has_active_table():
        if isinstance(x, Tracer):
            raise leaked(x)
        from mlc.array import asarray as array_of

        return array_of(_host_data(x, dtype), None if dtype is None else element_type(dtype), copy)
    return _traced_asarray(x, dtype)


def array(x: object, /, dtype: object = None, *, copy: bool | None = True) -> Any:
    """An array of ``x`` that shares nothing with it, as NumPy's and JAX's; with ``copy=None`` it is `asarray`.

    Example:
        >>> import mlc.numpy as mnp
        >>> x = mnp.asarray([1, 2])
        >>> mnp.array(x) is x, mnp.asarray(x) is x
        (False, True)
    """
    return asarray(x, dtype, copy=copy)


def from_dlpack(x: object, /, *, device: object = None, copy: bool | None = None) -> Any:
    """The array of another library that speaks DLPack, bf16 included; contiguous memory is borrowed unless ``copy``.

    The other library must not write to borrowed memory. Raises ArgumentError for what is no array on the CPU,
    DTypeError for elements that mlc has no type for, ValueError where ``copy=False`` cannot be.

    Example:
        >>> import numpy as np
        >>> import mlc.numpy as mnp
        >>> mnp.from_dlpack(np.arange(3, dtype=np.int32))
        Array([0, 1, 2], dtype=i32)
    """
    from mlc.array import from_dlpack as array_from_dlpack

    return array_from_dlpack(x, device=device, copy=copy)


@operation("x")
def _traced_asarray(x: object, dtype: object) -> Tracer:
    target = None if dtype is None else element_type(dtype)
    if isinstance(x, list | tuple):
        if any(isinstance(leaf, Tracer) for leaf in tree.leaves(x)):
            return stack([_traced_asarray(part, target) for part in x])
        x = _host_data(x, dtype)
    return wrap(as_node(x, target, "asarray: operand"))


def _host_data(x: object, dtype: object) -> Any:
    """NumPy data of lists and numbers (with mlc's default types); arrays as they are."""
    if isinstance(x, np.ndarray | np.generic) or is_array(x):
        return x
    try:
        data = np.asarray(
            [np.asarray(part) if is_array(part) else part for part in x] if isinstance(x, list | tuple) else x
        )
    except ValueError as error:  # rows of different lengths
        raise ArgumentError(f"asarray: {type(x).__name__} {x!r:.60} is no array of numbers: {error}") from None
    if data.dtype == object or data.dtype.kind not in "fiub":
        raise ArgumentError(f"asarray: {type(x).__name__} {x!r:.60} is no array of numbers")
    if dtype is not None:
        return saturating_cast(data, element_type(dtype))
    plain = not any(isinstance(leaf, np.generic | np.ndarray) for leaf in tree.leaves(x))
    return data.astype(np.float32) if plain and data.dtype == np.float64 else data


def _like_type(x: object, dtype: object) -> TensorType:
    type, _ = describe(x, "operand")
    return type if dtype is None else type.with_dtype(element_type(dtype))


def _like(x: object, value: float, dtype: object) -> Tracer:
    return wrap(fill(value, _like_type(x, dtype)))


def _diagonal(shape: tuple[Size, ...], direction: str, k: int) -> Node:
    """A bool matrix: column compared with row + k."""
    row, column = (IOTA(shape=shape, dtype=I64, dimension=axis) for axis in (0, 1))
    return COMPARE(column, ADD(row, fill_like(row, k)) if k else row, direction=direction)


def _triangle(x: object, direction: str, k: int) -> Tracer:
    node = as_node(x)
    if len(node.shape) < 2:
        raise ArgumentError(f"tril, triu: operand is {node.type}; it needs at least two axes")
    kept = broadcast_node(_diagonal(node.shape[-2:], direction, k), node.shape)
    return wrap(SELECT(kept, node, fill_like(node, 0)))


__all__ = [
    "arange", "array", "asarray", "empty", "empty_like", "eye", "from_dlpack", "full", "full_like", "linspace",
    "ones", "ones_like", "tril", "triu", "zeros", "zeros_like",
]  # fmt: skip
