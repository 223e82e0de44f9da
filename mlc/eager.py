"""Operations on arrays outside any trace: compiled for their types, and after the first shape for every shape.

The first shape that an operation meets gets kernels of its own. For the second one that differs in sizes alone, an
operation that computes each element by itself is compiled with symbolic sizes, and further shapes cost no compilation.
Reductions and products are compiled for each shape: the order of their sums follows from it, and the bits of a result
must not depend on which shapes were seen before.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from . import tree
from .errors import MlcError
from .ir.dims import Dim, dim
from .ir.graph import Graph
from .ir.graph.node import graphs_in
from .ir.types import F64
from .staging import JitFunction, static_key
from .tracing import ShapeDtype, Tracer, describe, user_location
from .tracing.lift import ExactFloat
from .tracing.tracer import leaked
from .tree import TreeDef

MOST = 1 << 20  # larger extents are compiled for their own sake: bounds decide on index arithmetic and memory

# What moves elements or makes them of their position; elementwise rows compute each by itself.
_MOVES = frozenset({
    "parameter", "constant", "broadcast_in_dim", "reshape", "transpose", "slice", "concatenate", "pad", "reverse",
    "iota", "get_dimension_size",
})  # fmt: skip


class EagerFunction(JitFunction):
    """A function of the library that is called outside of traces; parameters that are no operands are static.

    Raises what tracing and calls raise.
    """

    def __init__(self, function: Callable[..., Any], operands: Sequence[str]) -> None:
        parameters = inspect.signature(function).parameters
        super().__init__(function, tuple([n for n in parameters if n not in operands]), (), None)
        # by pattern: None after the first shape, then what runs all shapes, or False where each needs its own code
        self._patterns: dict[object, Any] = {}

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
        pattern = _pattern(leaves)
        if pattern is None:
            return self._for_this_shape(leaves, structure, static)
        key = structure, tuple(pattern), static_key(tuple(sorted(static.items())))
        if key not in self._patterns:
            self._patterns[key] = None
            return self._for_this_shape(leaves, structure, static)
        if self._patterns[key] is None:
            self._patterns[key] = self._for_all_shapes(leaves, pattern, structure, static)
        return self._patterns[key] or self._for_this_shape(leaves, structure, static)

    def _for_this_shape(self, leaves: Sequence[Any], structure: TreeDef, static: dict[str, Any]) -> tuple[Any, TreeDef]:
        args, kwargs = tree.unflatten(structure, leaves)
        compiled = self._lower(args, kwargs, static).compile()
        return compiled.executable, compiled.out_tree

    def _for_all_shapes(
        self, leaves: Sequence[Any], pattern: Sequence[Any], structure: TreeDef, static: dict[str, Any]
    ) -> tuple[Any, TreeDef] | bool:
        """Code for every shape of a pattern; False where each element does not stand by itself."""
        args, kwargs = tree.unflatten(structure, list(map(_spec, leaves, pattern)))
        try:
            lowered = self._lower(args, kwargs, static)
        except (MlcError, TypeError, ValueError):  # the operation needs to know its sizes
            return False
        if not all(node.op.elementwise or node.op.name in _MOVES for node in _nodes(lowered.graph)):
            return False
        compiled = lowered.compile()
        return False if compiled.program.plan.arena_bytes else (compiled.executable, compiled.out_tree)

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


def _hashable(x: Any) -> Any:
    """Lists become tuples."""
    return tuple(map(_hashable, x)) if isinstance(x, list | tuple) else x


def _pattern(leaves: Sequence[Any]) -> list[Any] | None:
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


def _spec(leaf: Any, pattern: Any) -> Any:
    """A leaf as the trace takes it, with a symbol for every mark; numbers as they are."""
    if not isinstance(pattern, tuple):
        return leaf
    dtype, marks = pattern
    sizes: list[int | Dim] = [dim(mark, 2, MOST) if mark else 1 for mark in marks]
    return ShapeDtype(sizes, dtype)


def _nodes(graph: Graph) -> Iterator[Any]:
    work = [graph]
    while work:
        for node in work.pop().nodes:
            yield node
            work.extend(graphs_in(node))
