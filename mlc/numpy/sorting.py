"""Sorting along an axis, and the distinct elements of known arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mlc.errors import UnsupportedError
from mlc.ir.graph import CONVERT, IOTA
from mlc.ir.graph import argsort as argsort_node
from mlc.ir.graph import sort as sort_nodes
from mlc.ir.types import BF16, F32, I64
from mlc.tracing.lift import as_node, describe
from mlc.tracing.location import user_location
from mlc.tracing.tracer import Tracer

from .axes import one_axis
from .dispatch import operation
from .promotion import wrap


@operation("x")
def sort(x: object, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tracer:
    """The elements of ``x`` along ``axis`` in ascending order, or in descending order.

    NaNs count as greater than all numbers; -0.0 may come before 0.0. Equal elements look alike: ``stable`` changes
    nothing. Raises ShapeError for a scalar.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.sort(mnp.asarray([3.0, float("nan"), -1.0, 2.0])).tolist()
        [-1.0, 2.0, 3.0, nan]
    """
    node = as_node(x, None, "sort: operand")
    return wrap(sort_nodes(node, axis=one_axis("sort", axis, node.tensor), descending=descending, stable=False)[0])


@operation("x")
def argsort(x: object, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tracer:
    """Where the elements of the sorted ``x`` come from along ``axis``, as i64; equal elements keep their order.

    NaNs count as greater than all numbers, zeros of both signs are equal; always stable. Raises ShapeError for a
    scalar.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.argsort(mnp.asarray([3, 1, 2, 1])).tolist()
        [1, 3, 2, 0]
    """
    node = as_node(x, None, "argsort: operand")
    return wrap(_order(node, one_axis("argsort", axis, node.tensor), descending))


def _order(node: Any, axis: int, descending: bool) -> Any:
    if not node.shape[axis]:
        return IOTA(shape=node.shape, dtype=I64, dimension=axis)
    return CONVERT(argsort_node(node, axis, descending=descending), dtype=I64)


# ---------------------------------------------------------------- distinct elements


class UniqueAll(NamedTuple):
    """What ``unique_all`` finds."""

    values: Any
    indices: Any
    inverse_indices: Any
    counts: Any


class UniqueCounts(NamedTuple):
    """What ``unique_counts`` finds."""

    values: Any
    counts: Any


class UniqueInverse(NamedTuple):
    """What ``unique_inverse`` finds."""

    values: Any
    inverse_indices: Any


def unique_all(x: object, /) -> UniqueAll:
    """The distinct elements of ``x``, ascending, where each comes first, where each element of ``x`` is found among
    them, and how often each is there; indices and counts are i64. Every NaN is distinct.

    How many there are is the data's: UnsupportedError for a traced value.

    Example:
        >>> import mlc.numpy as mnp
        >>> [a.tolist() for a in mnp.unique_all(mnp.asarray([5, 2, 5]))]
        [[2, 5], [1, 0], [1, 0, 1], [1, 2]]
    """
    return UniqueAll(*_unique("unique_all", x))


def unique_counts(x: object, /) -> UniqueCounts:
    """The distinct elements of the known ``x``, ascending, and how often each is there: see ``unique_all``.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.unique_counts(mnp.asarray([5, 2, 5])).counts.tolist()
        [1, 2]
    """
    values, _, _, counts = _unique("unique_counts", x)
    return UniqueCounts(values, counts)


def unique_inverse(x: object, /) -> UniqueInverse:
    """The distinct elements of the known ``x``, ascending, and where each element of ``x`` is found among them.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.unique_inverse(mnp.asarray([[5, 2], [5, 5]])).inverse_indices.tolist()
        [[1, 0], [1, 1]]
    """
    values, _, inverse, _ = _unique("unique_inverse", x)
    return UniqueInverse(values, inverse)


def unique_values(x: object, /) -> Any:
    """The distinct elements of the known ``x``, ascending: see ``unique_all``.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.unique_values(mnp.asarray([5, 2, 5])).tolist()
        [2, 5]
    """
    return _unique("unique_values", x)[0]


def _unique(name: str, x: object) -> tuple[Any, Any, Any, Any]:
    if isinstance(x, Tracer):
        raise UnsupportedError(
            f"{name}: how many distinct elements a traced {x.node.type} has is not known before the function runs",
            location=str(user_location()),
            hint="mlc.numpy.sort keeps the shape; equal elements are neighbours there",
        )
    from mlc.array import asarray

    dtype = describe(x, f"{name}: operand")[0].dtype
    given = np.asarray(x)
    known = given.astype(F32.numpy) if dtype == BF16 else given
    values, first, inverse, counts = np.unique(known, True, True, True, equal_nan=False)
    numbers = (np.asarray(n, np.int64) for n in (first, inverse.reshape(given.shape), counts))
    return asarray(values.astype(dtype.numpy)), *map(asarray, numbers)  # type: ignore[return-value]
