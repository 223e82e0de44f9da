"""Operations on arrays outside any trace: compiled for their types, and after the first shape for every shape.

The first shape that an operation meets gets kernels of its own. For the second one that differs in sizes alone, an
operation that computes each element by itself is compiled with symbolic sizes, and further shapes cost no compilation.
Reductions and products are compiled for each shape: the order of their sums follows from it, and the bits of a result
must not depend on which shapes were seen before.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from . import tree
from .errors import MlcError
from .ir.dims import Dim, dim
from .ir.graph import Graph
from .ir.graph.node import graphs_in
from .staging import JitFunction, static_key
from .tracing import ShapeDtype, describe
from .tree import TreeDef

MOST = 1 << 20  # larger extents are compiled for their own sake: bounds decide on index arithmetic and memory

# What moves elements or makes them of their position; elementwise rows compute each by itself.
_MOVES = frozenset({
    "parameter", "constant", "broadcast_in_dim", "reshape", "transpose", "slice", "concatenate", "pad", "reverse",
    "iota", "get_dimension_size",
})  # fmt: skip


def eager(function: Callable[..., Any], *args: Any, **static: Any) -> Any:
    """Run ``function`` on arrays outside any trace; keyword arguments are static.

    Raises what tracing and calls raise.
    """
    return _eager_function(function, tuple(sorted(static)))(*args, **static)


@functools.lru_cache(maxsize=4096)
def _eager_function(function: Callable[..., Any], static: tuple[str, ...]) -> EagerFunction:
    return EagerFunction(function, static, (), None)


class EagerFunction(JitFunction):
    """A function of the library that is called outside of traces."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        # by pattern: None after the first shape, then what runs all shapes, or False where each needs its own code
        self._patterns: dict[object, Any] = {}

    def _compile_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, TreeDef]:
        plain, named, static = self._split(args, kwargs)
        leaves, structure = tree.flatten((plain, named))
        pattern = _pattern(leaves)
        if pattern is None:
            return super()._compile_call(args, kwargs)
        key = structure, tuple(pattern), static_key(tuple(sorted(static.items())))
        if key not in self._patterns:
            self._patterns[key] = None
            return super()._compile_call(args, kwargs)
        if self._patterns[key] is None:
            self._patterns[key] = self._for_all_shapes(leaves, pattern, structure, static)
        known = self._patterns[key]
        return known or super()._compile_call(args, kwargs)

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
