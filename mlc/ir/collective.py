"""What a collective gives each rank of a group, in NumPy, with the order in which a library folds the ranks' values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mlc.errors import ArgumentError

from . import extremes

Array = npt.NDArray[Any]
Fold = Callable[[Array, Array], Array]


def run_collective(
    kind: str, values: Sequence[Array], *, reduction: str = "add", root: int = 0, order: str = "linear"
) -> list[Array]:
    """The results of the members of one group for their ``values``, arrays of one shape and dtype.

    Blocks of all_gather and reduce_scatter follow one another along axis 0. Each result is an array of its own.
    Raises ArgumentError for an unknown order or collective.

    Example:
        >>> import numpy as np
        >>> run_collective("reduce_scatter", [np.array([1, 2]), np.array([10, 20])])
        [array([11]), array([22])]
    """
    if kind == "all_gather":
        whole = np.concatenate(values)
        return [whole.copy() for _ in values]
    if kind == "collective_broadcast":
        return [values[root].copy() for _ in values]
    if kind not in ("all_reduce", "reduce_scatter"):
        raise ArgumentError(f"{kind} is no collective")
    total = fold_ranks(values, reduction, order)
    return [total.copy() for _ in values] if kind == "all_reduce" else [b.copy() for b in np.split(total, len(values))]


def fold_ranks(values: Sequence[Array], reduction: str = "add", order: str = "linear") -> Array:
    """The values of all ranks folded element by element, every step rounded to their dtype.

    ``order`` is one of ``ORDERS``; for integers and for two ranks all are the same but for the orders' names.

    Example:
        >>> import numpy as np
        >>> fold_ranks([np.array([1, 2]), np.array([3, 4]), np.array([5, 6])])
        array([ 9, 12])
    """
    if order not in ORDERS:
        raise ArgumentError(f"{order!r} is no order of folding", hint=f"the orders are {', '.join(ORDERS)}")
    dtype = values[0].dtype

    def fold(a: Array, b: Array) -> Array:
        with np.errstate(all="ignore"):
            folded: Array = _UFUNCS[reduction](a, b).astype(dtype, copy=False)
        return folded

    flat = [np.ascontiguousarray(v).reshape(-1) for v in values]
    return ORDERS[order](flat, fold).reshape(values[0].shape)


_UFUNCS: dict[str, Any] = {
    "add": np.add, "multiply": np.multiply, "maximum": extremes.maximum,
    "minimum": extremes.minimum, "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
}  # fmt: skip


def _linear(values: Sequence[Array], fold: Fold) -> Array:
    """((x0 + x1) + x2) + x3: a flat tree, and the shared-memory reductions of MPICH."""
    total = values[0].copy()
    for value in values[1:]:
        total = fold(total, value)
    return total


def _linear_from_last(values: Sequence[Array], fold: Fold) -> Array:
    """((x3 + x2) + x1) + x0: Open MPI's basic linear reduction."""
    return _linear(values[::-1], fold)


def _doubling(values: Sequence[Array], fold: Fold) -> Array:
    """(x0 + x1) + (x2 + x3), partners at distance 1, 2, 4: recursive doubling, binomial trees, and Rabenseifner's
    reduce-scatter as MPICH and Open MPI do it. Surplus ranks over a power of two are folded into their neighbour first.
    """
    level = _power_of_two(values, fold)
    while len(level) > 1:
        level = [fold(level[i], level[i + 1]) for i in range(0, len(level), 2)]
    return level[0].copy()


def _halving(values: Sequence[Array], fold: Fold) -> Array:
    """(x0 + x2) + (x1 + x3), partners at half the distance each time: textbook recursive halving."""
    level = _power_of_two(values, fold)
    while len(level) > 1:
        half = len(level) // 2
        level = [fold(a, b) for a, b in zip(level[:half], level[half:], strict=True)]
    return level[0].copy()


def _power_of_two(values: Sequence[Array], fold: Fold) -> list[Array]:
    surplus = len(values) - (1 << (len(values).bit_length() - 1))
    pairs = [fold(values[i], values[i + 1]) for i in range(0, 2 * surplus, 2)]
    return [*pairs, *values[2 * surplus :]]


def _ring(values: Sequence[Array], fold: Fold, first: int = 0) -> Array:
    """Block b, of as many as there are ranks, starts at rank b + ``first`` and is added to from rank to rank."""
    ranks = len(values)
    blocks = [np.array_split(v, ranks) for v in values]  # the first n % ranks blocks are one longer
    folded = [_linear([blocks[(b + first + i) % ranks][b] for i in range(ranks)], fold) for b in range(ranks)]
    return np.concatenate(folded)


def _ring_from_next(values: Sequence[Array], fold: Fold) -> Array:
    return _ring(values, fold, 1)


ORDERS: dict[str, Callable[[Sequence[Array], Fold], Array]] = {
    "linear": _linear, "linear_from_last": _linear_from_last, "recursive_doubling": _doubling,
    "recursive_halving": _halving, "ring": _ring, "ring_from_next": _ring_from_next,
}  # fmt: skip
"""The orders that libraries fold ranks in, by name. They differ for floats and more than two ranks."""
