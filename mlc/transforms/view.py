"""What a tensor was before it was broadcast: the node behind reshapes and broadcasts, and where its axes went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..ir.dims import Size
from ..ir.graph import ADD, BROADCAST_IN_DIM, CONSTANT, CONVERT, REDUCE, RESHAPE, Node, reducer_of
from ..ir.graph.op import Op
from ..ir.types import F32

FARTHEST = 16  # movements that are looked through: more are no formula that somebody wrote


@dataclass(frozen=True, slots=True)
class View:
    """``node`` as a tensor with one entry in ``axes`` an axis sees it: the node's axis, None where all along is one.

    ``path`` are the nodes on the way, ``node`` the last.
    """

    node: Node
    axes: tuple[int | None, ...]
    path: tuple[Node, ...]

    def to(self, operand: Node) -> View:
        """What an elementwise ``node`` sees in its operand."""
        return _behind(operand, self.axes, self.path)

    def is_same(self, other: View) -> bool:
        return self.node is other.node and self.axes == other.axes

    def is_reduction(self, op: Op, x: Node) -> bool:
        """Whether the node reduces ``x``, from which it is seen, by ``op`` and is spread back over what it reduced."""
        if self.node.op is not REDUCE or reducer_of(self.node["body"]) is not op or self.node.operands[0] is not x:
            return False
        if op is ADD and number(self.node.operands[1]) != 0:
            return False
        kept = [i for i in range(len(x.shape)) if i not in self.node["dimensions"]]
        places = {axis: i for i, axis in enumerate(kept)}
        return self.axes == tuple(places.get(i) if size != 1 else None for i, size in enumerate(x.shape))


def view(node: Node) -> View:
    """What ``node`` shows: itself, or what it is a broadcast of."""
    return _behind(node, tuple(i if n != 1 else None for i, n in enumerate(node.shape)), ())


def narrow(node: Node) -> Node:
    """``node``, or what it was before f16 or bf16 was widened to f32 or the result narrowed again."""
    while node.op is CONVERT and node.dtype.is_float and node.operands[0].dtype.is_float:
        wide, other = sorted((node.dtype, node.operands[0].dtype), key=lambda d: -d.bits)
        if wide != F32 or other.bits >= 32:
            break
        node = node.operands[0]
    return node


def number(node: Node) -> float | None:
    """The number that every element of a float ``node`` is, where it is a constant scalar or a broadcast of one."""
    while node.op is BROADCAST_IN_DIM or node.op is RESHAPE:
        node = node.operands[0]
    if node.op is not CONSTANT or not node.dtype.is_float or node["value"].array.size != 1:
        return None
    return float(node["value"].array.reshape(()).item())


def _behind(node: Node, axes: tuple[int | None, ...], path: tuple[Node, ...]) -> View:
    for _ in range(FARTHEST):
        path = (*path, node)
        if node.op is BROADCAST_IN_DIM:
            source = node.operands[0]
            places = {d: j for j, d in enumerate(node["dimensions"]) if source.shape[j] != 1}
        elif node.op is RESHAPE and (found := _without_ones(node.operands[0].shape, node.shape)) is not None:
            source, places = node.operands[0], found
        elif (source := narrow(node)) is not node:
            places = {i: i for i in range(len(source.shape))}
        else:
            break
        axes = tuple(None if a is None else places.get(a) for a in axes)
        node = source
    return View(node, axes, path)


def _without_ones(before: Sequence[Size], after: Sequence[Size]) -> dict[int, int] | None:
    """Where each axis of a reshape's result was, for one that only adds and drops axes of size 1."""
    old = [i for i, n in enumerate(before) if n != 1]
    new = [i for i, n in enumerate(after) if n != 1]
    if [before[i] for i in old] != [after[i] for i in new]:
        return None
    return dict(zip(new, old, strict=True))
