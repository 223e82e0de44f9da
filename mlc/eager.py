"""Operations on arrays outside any trace: compiled for their types, and then for every shape.

An operation that computes each element by itself is compiled for the first shape that it meets, with kernels of its
own, and at the second one that differs in sizes alone with symbolic sizes: further shapes cost no compilation. One that
sums (a reduction, a product) has symbolic sizes from the start, since the order of its sums follows from its code, and
the bits of a result must not depend on which shapes were seen before. Much work is compiled for its own shape.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from . import tree
from .errors import MlcError
from .ir.dims import Dim, dim
from .ir.graph import Graph
from .ir.graph.cost import Cost, cost_by_scope
from .ir.graph.node import with_nested
from .ir.types import F64
from .stages import Compiled
from .staging import JitFunction, static_key
from .tracing import ShapeDtype, Tracer, describe, user_location
from .tracing.lift import ExactFloat
from .tracing.tracer import leaked
from .tree import TreeDef

MOST = 1 << 20  # larger extents are compiled for their own sake: bounds decide on index arithmetic and memory
MUCH_WORK = 1 << 27  # operations in sums, from which on code for one shape pays
LITTLE_MEMORY = 4096  # bytes for partial sums

# What moves elements or makes them of their position; elementwise rows compute each by itself.
_MOVES = frozenset({
    "parameter", "constant", "broadcast_in_dim", "reshape", "transpose", "slice", "concatenate", "pad", "reverse",
    "iota", "get_dimension_size", "size",
})  # fmt: skip
_SUMS = frozenset({"reduce", "dot_general"})


class EagerFunction(JitFunction):
    """A function of the library that is called outside of traces; parameters that are no operands are static.

    Raises what tracing and calls raise.
    """

    def __init__(self, function: Callable[..., Any], operands: Sequence[str]) -> None:
        parameters = inspect.signature(function).parameters
        super().__init__(function, tuple([n for n in parameters if n not in operands]), (), None)
        self._patterns: dict[object, _Pattern] = {}

    def _compile_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, TreeDef]:
        try:
            plain, named, static = self._split(args, kwargs)
            leaves, structure = tree.flatten((plain, named))
            static = {name: _hashable(x) for name, x in static.items()}
            return self._compile_for(self._widened(leaves), structure, static)
        except MlcError as error:
            error.location = error.location or str(user_location())
            raise

    def _compile_for(self, leaves: Sequence[Any], structure: TreeDef, static: dict[str, Any]) -> tuple[Any, TreeDef]:
        marks = _marks(leaves)
        home = self._home(tuple(leaves), {})
        key = structure, tuple(marks or ()), static_key(tuple(sorted(static.items()))), home
        pattern = self._patterns.get(key)
        if pattern is not None and pattern.code is not None and not pattern.sums:
            return pattern.code
        args, kwargs = tree.unflatten(structure, leaves)
        lowered = self._lower(args, kwargs, static)
        if marks is None:
            return _ready(lowered.compile())
        if pattern is None:
            pattern = self._patterns[key] = _Pattern(any(n.op.name in _SUMS for n in _nodes(lowered.graph)))
            if not pattern.sums:
                return _ready(lowered.compile())
        if pattern.sums and _work(lowered.graph) > MUCH_WORK:
            return _ready(lowered.compile())
        if not pattern.tried:
            pattern.tried = True
            pattern.code = self._for_all_shapes(leaves, marks, structure, static, home)
        return pattern.code or _ready(lowered.compile())

    def _for_all_shapes(
        self,
        leaves: Sequence[Any],
        marks: Sequence[Any],
        structure: TreeDef,
        static: dict[str, Any],
        home: str | None,
    ) -> tuple[Any, TreeDef] | None:
        """Code for every shape of a pattern on ``home``; None where each shape needs its own."""
        args, kwargs = tree.unflatten(structure, list(map(_spec, leaves, marks)))
        try:
            lowered = self._lower(args, kwargs, static, home)
        except (MlcError, TypeError, ValueError):  # the operation needs to know its sizes
            return None
        if not all(n.op.elementwise or n.op.name in _MOVES | _SUMS for n in _nodes(lowered.graph)):
            return None
        compiled = lowered.compile()
        plan = compiled.program.plan
        arenas = plan.arena_bytes + sum(d.arena_bytes for d in plan.devices)
        return _ready(compiled) if arenas <= LITTLE_MEMORY else None

    def _call_unusual(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            self._widened(tree.leaves(self._split(args, kwargs)[:2]))
            return super()._call_unusual(args, kwargs)
        except MlcError as error:
            error.location = error.location or str(user_location())
            raise

    def _static_key(self, static: Any) -> object:
        return super()._static_key(_hashable(static))

    def _widened(self, leaves: Sequence[Any]) -> Sequence[Any]:
        """The operands' leaves, numbers beside f64 arrays as f64 rather than f32. Raises for what is no operand."""
        wide = False
        for x in leaves:
            if isinstance(x, Tracer):
                raise leaked(x)
            if not isinstance(x, float | int):
                wide = wide or describe(x, f"{self._name}: operand")[0].dtype is F64
        return [ExactFloat(x) if type(x) is float else x for x in leaves] if wide else leaves


@dataclass(slots=True)
class _Pattern:
    """Shapes that differ in sizes alone: whether elements are sums, and the code for all of them where there is one."""

    sums: bool
    tried: bool = False
    code: tuple[Any, TreeDef] | None = None


def _ready(compiled: Compiled) -> tuple[Any, TreeDef]:
    return compiled.executable, compiled.out_tree


def _work(graph: Graph) -> int:
    return sum(cost_by_scope(graph, {}).values(), start=Cost()).flops


def _hashable(x: Any) -> Any:
    """Lists become tuples."""
    return tuple(map(_hashable, x)) if isinstance(x, list | tuple) else x


def _marks(leaves: Sequence[Any]) -> list[Any] | None:
    """Leaf by leaf its type with sizes replaced by marks: equal ones are equal, 1 stays; None where none is left."""
    marks: dict[int, str] = {1: ""}
    found: list[Any] = []
    for x in leaves:
        kind, weak = describe(x)
        if weak:
            found.append(kind.dtype)
            continue
        for n in kind.shape:
            if not isinstance(n, int) or n == 0 or n > MOST:
                return None
            marks.setdefault(n, f"n{len(marks) - 1}")
        found.append((kind.dtype, tuple([marks[n] for n in kind.shape if isinstance(n, int)])))
    return found if len(marks) > 1 else None


def _spec(leaf: Any, mark: Any) -> Any:
    """A leaf as the trace takes it, with a symbol for every mark; numbers as they are."""
    if not isinstance(mark, tuple):
        return leaf
    dtype, marks = mark
    sizes: list[int | Dim] = [dim(mark, 2, MOST) if mark else 1 for mark in marks]
    return ShapeDtype(sizes, dtype)


def _nodes(graph: Graph) -> Iterator[Any]:
    return (node for g in with_nested(graph) for node in g.nodes)
