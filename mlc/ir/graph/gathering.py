"""gather and scatter: windows of a tensor at places that another tensor holds, read and combined with updates.

A gather clamps its start indices so that every window lies inside; a scatter drops the elements of updates that would
lie outside. Windows are scattered one after the other, in the row-major order of the indices: floats are added in that
order, and of several overwriting updates of one element the last one stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import DifferentiationError, ShapeError
from .. import extremes
from ..dims import Size, bounds, size_product
from ..types import I32, I64, DType, TensorType, ValueType, scalar
from .elementwise import ADD, CLAMP, COMPARE, CONVERT, MINIMUM, SELECT
from .node import Graph, Node, Table
from .op import Array, Op, declare, no_flops
from .reduction import REDUCERS, body_of, reducer_of
from .shape import CONCATENATE, IOTA, PAD, broadcast_in_dim, constant, fill, reshape, size_value
from .typing import require_dtype, tensor
from .windows import FARTHEST, Windows

_UFUNCS: dict[str, Any] = {"add": np.add, "multiply": np.multiply, "maximum": extremes.maximum,
                           "minimum": extremes.minimum, "and": np.bitwise_and, "or": np.bitwise_or,
                           "xor": np.bitwise_xor}  # fmt: skip
_OVERWRITES: dict[DType, Graph] = {}

# ---------------------------------------------------------------- gather


def gather_windows(operands: Sequence[ValueType], a: dict[str, Any]) -> Windows:
    """The windows of a gather of operands of these types."""
    return Windows(
        tensor("gather", operands[0]), tensor("gather", operands[1], "start indices"), a["slice_sizes"],
        a["offset_dims"], a["collapsed_slice_dims"], a["operand_batching_dims"], a["start_indices_batching_dims"],
        a["start_index_map"], a["index_vector_dim"],
    )  # fmt: skip


def _infer_gather(operands: Sequence[ValueType], attributes: dict[str, Any]) -> TensorType:
    windows = gather_windows(operands, attributes)
    windows.check("gather", inside=True)
    return windows.operand.with_shape(windows.shape)


def _gather(node: Node, shape: tuple[int, ...], x: Array, indices: Array) -> Array:
    windows = windows_of(node)
    sizes = [1] * x.ndim
    for axis, dim in zip(windows.window_axes, windows.window_dims, strict=True):
        sizes[axis] = shape[dim]
    starts = np.clip(windows.starts(indices, x.ndim), 0, np.array(x.shape, np.int64) - sizes)
    found: Array = x[tuple(windows.coordinates(starts, shape))] if x.ndim else x
    return np.broadcast_to(found, shape)


def _gather_transpose(ct: Node, node: Node, linear: tuple[bool, ...]) -> Sequence[Node | None]:
    x, indices = node.operands
    windows = windows_of(node)
    return (scatter_windows(fill(0.0, x.tensor), clamped(indices, windows), ct, windows, ADD,
                            indices_are_sorted=node["indices_are_sorted"]), None)  # fmt: skip


GATHER: Op = declare(
    "gather", operands=2, infer=_infer_gather, evaluate=_gather,
    attributes=("offset_dims", "collapsed_slice_dims", "operand_batching_dims", "start_indices_batching_dims",
                "start_index_map", "index_vector_dim", "slice_sizes", "indices_are_sorted"),
    jvp=(lambda t, n: GATHER(t, n.operands[1], **n.attributes), None), transpose=_gather_transpose,
    flops=no_flops)  # fmt: skip
"""Windows of ``slice_sizes`` of the first operand, each starting where a vector of the second says."""


def gather(x: Node, indices: Node, windows: Windows, *, indices_are_sorted: bool = False) -> Node:
    """The ``windows`` of ``x``."""
    return GATHER(
        x, indices, offset_dims=windows.window_dims, collapsed_slice_dims=windows.dropped,
        operand_batching_dims=windows.batching, start_indices_batching_dims=windows.indices_batching,
        start_index_map=windows.index_map, index_vector_dim=windows.index_vector_dim, slice_sizes=windows.sizes,
        indices_are_sorted=indices_are_sorted,
    )  # fmt: skip


# ---------------------------------------------------------------- scatter


def overwrite_of(dtype: DType) -> Graph:
    """The body that keeps the update and forgets what was there."""
    body = _OVERWRITES.get(dtype)
    if body is None:
        table = Table()
        with table.active():
            x, y = table.parameter(scalar(dtype)), table.parameter(scalar(dtype))
            body = Graph("overwrite", (x, y), (y,), table)
        _OVERWRITES[dtype] = body
    return body


def combiner_of(body: Graph) -> Op | None:
    """The op by which ``body`` joins an update to what is there; None where the update overwrites it.

    Raises UnsupportedError for any other body.
    """
    if len(body.results) == 1 and body.results[0] is body.parameters[1]:
        return None
    return reducer_of(body)


def _scatter_windows(operands: Sequence[ValueType], a: dict[str, Any]) -> Windows:
    x, indices, updates = (
        tensor("scatter", o, w) for o, w in zip(operands, ("input", "indices", "updates"), strict=True)
    )
    dropped, batching = a["inserted_window_dims"], a["input_batching_dims"]
    axes = [i for i in range(x.rank) if i not in dropped and i not in batching]
    sizes: list[Size] = [1] * x.rank
    for axis, dim in zip(axes, a["update_window_dims"], strict=False):  # check() compares their numbers
        if 0 <= dim < updates.rank:
            sizes[axis] = updates.shape[dim]
    return Windows(
        x, indices, tuple(sizes), a["update_window_dims"], dropped, batching, a["scatter_indices_batching_dims"],
        a["scatter_dims_to_operand_dims"], a["index_vector_dim"],
    )  # fmt: skip


def _infer_scatter(operands: Sequence[ValueType], attributes: dict[str, Any]) -> TensorType:
    windows = _scatter_windows(operands, attributes)
    windows.check("scatter", inside=False)
    x, updates = windows.operand, tensor("scatter", operands[2])
    require_dtype("scatter", updates, x.dtype, "update")
    if updates.shape != windows.shape:
        raise ShapeError(f"scatter: the updates are {updates}, the windows of {x} at {windows.indices} are "
                         f"{x.with_shape(windows.shape)}")  # fmt: skip
    body, want = attributes["body"], scalar(x.dtype)
    if [p.type for p in body.parameters] != [want, want] or [r.type for r in body.results] != [want]:
        raise ShapeError(f"scatter: the body must take two {want} and give one")
    combiner_of(body)
    return x


def _scatter(node: Node, shape: tuple[int, ...], x: Array, indices: Array, updates: Array) -> Array:
    windows = windows_of(node)
    order = (*windows.batch_dims, *windows.window_dims)  # one window after the other
    at = [
        np.transpose(np.broadcast_to(c, updates.shape), order)
        for c in windows.coordinates(windows.starts(indices, x.ndim), updates.shape)
    ]
    updates = np.transpose(updates, order)
    inside = np.ones(updates.shape, bool)
    for n, c in zip(x.shape, at, strict=True):
        inside &= (c >= 0) & (c < n)
    where = tuple(c[inside] for c in at)
    where = where or (np.zeros(updates.size, np.int64),)  # a scalar operand
    result, op = np.array(x), combiner_of(node["body"])
    target = np.atleast_1d(result)
    with np.errstate(all="ignore"):
        if op is None:
            target[where] = updates[inside]
        else:
            ufunc = np.logical_and if x.dtype == bool and op.name == "multiply" else _UFUNCS[op.name]
            ufunc.at(target, where, updates[inside])
    return result


def _scatter_tangent(node: Node, tangents: Sequence[Node | None]) -> Node | None:
    of_x, _, of_updates = tangents
    op = combiner_of(node["body"])
    if of_x is None and of_updates is None:
        return None
    if op is not None and op is not ADD:
        raise DifferentiationError(
            f"scatter: mlc has no derivative of {op.name} into places that indices give",
            hint="combine what was gathered there by mlc.numpy and scatter with set or add",
        )
    x, indices, updates = node.operands
    of_x = of_x if of_x is not None else fill(0.0, x.tensor)
    of_updates = of_updates if of_updates is not None else fill(0.0, updates.tensor)
    return SCATTER(of_x, indices, of_updates, **node.attributes)


def _scatter_transpose(ct: Node, node: Node, linear: tuple[bool, ...]) -> Sequence[Node | None]:
    _, indices, updates = node.operands
    windows = windows_of(node)
    of_x, of_updates = ct, None
    if linear[2]:
        of_updates = gather_inside(ct, indices, windows)
    if combiner_of(node["body"]) is None:
        of_x = SCATTER(ct, indices, fill(0.0, updates.tensor), **node.attributes)
        if of_updates is not None and not node["unique_indices"]:
            of_updates = SELECT(_stay(node, windows), of_updates, fill(0.0, updates.tensor))
    return (of_x if linear[0] else None, None, of_updates)


def _stay(node: Node, windows: Windows) -> Node:
    """Which elements of overwriting updates no later update overwrites: write their numbers, and read them again."""
    x, indices, updates = node.operands
    count = size_product(windows.batch_shape)
    dtype = I32 if bounds(count)[1] < 1 << 31 else I64
    line = reshape(IOTA(shape=(count,), dtype=dtype, dimension=0), windows.batch_shape)
    numbers = broadcast_in_dim(line, updates.shape, windows.batch_dims)
    attributes = {**node.attributes, "body": overwrite_of(dtype)}
    written = SCATTER(fill(-1.0, x.tensor.with_dtype(dtype)), indices, numbers, **attributes)
    return COMPARE(gather_inside(written, indices, windows), numbers, direction="EQ")


def _updates(node: Node) -> Size:
    return 0 if combiner_of(node["body"]) is None else node.operands[2].tensor.size


SCATTER: Op = declare(
    "scatter", operands=3, infer=_infer_scatter, evaluate=_scatter,
    attributes=("update_window_dims", "inserted_window_dims", "input_batching_dims", "scatter_indices_batching_dims",
                "scatter_dims_to_operand_dims", "index_vector_dim", "indices_are_sorted", "unique_indices", "body"),
    jvp=_scatter_tangent, transpose=_scatter_transpose, flops=_updates)  # fmt: skip
"""The first operand with the third's windows combined into it by ``body``, each where a vector of the second says."""


def scatter_windows(
    x: Node,
    indices: Node,
    updates: Node,
    windows: Windows,
    op: Op | None,
    *,
    indices_are_sorted: bool = False,
    unique_indices: bool = False,
) -> Node:
    """``x`` with ``updates`` combined into its ``windows`` by ``op``; None overwrites."""
    assert op is None or op in REDUCERS
    return SCATTER(
        x, indices, updates, update_window_dims=windows.window_dims, inserted_window_dims=windows.dropped,
        input_batching_dims=windows.batching, scatter_indices_batching_dims=windows.indices_batching,
        scatter_dims_to_operand_dims=windows.index_map, index_vector_dim=windows.index_vector_dim,
        indices_are_sorted=indices_are_sorted, unique_indices=unique_indices,
        body=overwrite_of(x.dtype) if op is None else body_of(op, x.dtype),
    )  # fmt: skip


# ---------------------------------------------------------------- both


def windows_of(node: Node) -> Windows:
    """The windows of a gather or scatter node."""
    of = gather_windows if node.op is GATHER else _scatter_windows
    return of([o.type for o in node.operands], dict(node.attributes))


def clamped(indices: Node, windows: Windows) -> Node:
    """The indices as a gather clamps them: every window inside of the operand."""
    if not windows.index_map:
        return indices
    limits = [windows.operand.shape[a] - windows.sizes[a] for a in windows.index_map]
    most = indices.dtype.limits[1]
    if any(bounds(n)[1] > most for n in limits):
        return clamped(_signed(indices), windows)
    dtype = indices.dtype
    if all(isinstance(n, int) for n in limits):
        same = len(set(limits)) == 1
        last: Node = constant(np.array(limits[0] if same else limits, dtype.numpy), dtype)
        last = broadcast_in_dim(last, indices.shape, () if same else (windows.index_vector_dim,))
    else:
        each = [reshape(CONVERT(size_value(n), dtype=dtype), (1,)) for n in limits]
        line = CONCATENATE(*each, dimension=0) if len(each) > 1 else each[0]
        whole = windows.index_vector_dim < indices.tensor.rank
        line = line if whole else reshape(line, ())
        last = broadcast_in_dim(line, indices.shape, (windows.index_vector_dim,) if whole else ())
    return CLAMP(fill(0.0, indices.tensor), indices, last)


def gather_inside(x: Node, indices: Node, windows: Windows) -> Node:
    """The windows of ``x`` where the indices say, elements outside of ``x`` being 0: what a scatter would touch.

    A gather of ``x`` with a margin of zeros as wide as a window: clamped, a window outside lies in it.
    """
    margin = [windows.sizes[a] if a in windows.index_map else 0 for a in range(windows.operand.rank)]
    whole = [a for a, n in enumerate(margin) if not isinstance(n, int)]
    if whole:
        raise DifferentiationError(
            f"scatter: windows of the symbolic axis {whole[0]} of {windows.operand} at places that indices give "
            "have no derivative", hint="update the whole axis, or compile for a fixed size",
        )  # fmt: skip
    if not margin or not windows.index_map:
        return gather(x, indices, windows)
    widths = tuple(int(n) for n in margin if isinstance(n, int))
    zero = constant(np.zeros((), x.dtype.numpy), x.dtype)
    grown = PAD(x, zero, low=widths, high=widths, interior=(0,) * len(widths))
    if indices.dtype.kind == "uint" or any(bounds(n)[1] > indices.dtype.limits[1] for n in grown.shape):
        indices = _signed(indices)  # sums beyond its largest value are negative, and clamped to the front margin
    steps = [widths[a] for a in windows.index_map]
    same = len(set(steps)) == 1
    step = constant(np.array(steps[0] if same else steps, indices.dtype.numpy), indices.dtype)
    moved = ADD(indices, broadcast_in_dim(step, indices.shape, () if same else (windows.index_vector_dim,)))
    wider = Windows(grown.tensor, moved.tensor, windows.sizes, windows.window_dims, windows.dropped, windows.batching,
                    windows.indices_batching, windows.index_map, windows.index_vector_dim)  # fmt: skip
    return gather(grown, moved, wider)


def _signed(indices: Node) -> Node:
    """The same indices as wide signed integers."""
    if indices.dtype.bits == 64 and indices.dtype.kind == "uint":
        far = constant(np.array(FARTHEST, np.uint64), indices.dtype)
        indices = MINIMUM(indices, broadcast_in_dim(far, indices.shape, ()))
    return CONVERT(indices, dtype=I64 if indices.dtype.bits >= 32 else I32)


__all__ = [
    "GATHER", "SCATTER", "Windows", "clamped", "combiner_of", "gather", "gather_inside", "overwrite_of",
    "scatter_windows", "windows_of",
]  # fmt: skip
