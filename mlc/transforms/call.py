"""What every transformation of user functions does: call the function once on fresh parameters, in the active trace.

Fresh parameters stand for the arguments that are differentiated, so that the same value used inside the function by
other ways (closed over, or passed as another argument) is a constant. Afterwards the arguments replace them.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar, cast

from .. import tree
from ..errors import ArgumentError, DifferentiationError, MlcError
from ..ir.graph import Node, current_table, has_active_table
from ..tracing import Tracer, as_tracer, current_trace, subtrace, user_location
from ..tree import TreeDef
from .differentiable import is_differentiable
from .raising import raise_formulas
from .substitute import substitute

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Called:
    """One call of a function on ``fresh`` parameters, which stand for the ``actual`` nodes."""

    name: str  # of the transformation and the function, as in "grad of loss"
    fresh: tuple[Node, ...]
    actual: tuple[Node, ...]
    results: tuple[Node, ...]  # of the value, then of the auxiliary output
    out_tree: TreeDef
    aux_tree: TreeDef | None

    @property
    def values(self) -> tuple[Node, ...]:
        return self.results[: self.out_tree.num_leaves]

    def settle(self, nodes: Sequence[Node]) -> list[Tracer]:
        """Tracers of ``nodes`` with the actual arguments in place of the fresh parameters."""
        here = current_trace()
        return [Tracer(n, here) for n in substitute(nodes, dict(zip(self.fresh, self.actual, strict=True)))]

    def aux(self, tracers: Sequence[Tracer]) -> Any:
        """The auxiliary output, its leaves being ``tracers``."""
        assert self.aux_tree is not None
        return tree.unflatten(self.aux_tree, tracers)


def call_on_fresh(
    transform: str, fun: Callable[..., Any], positions: Sequence[int], args: Sequence[Any], kwargs: Mapping[str, Any],
    has_aux: bool = False,
) -> Called:  # fmt: skip
    """Call ``fun`` with fresh parameters for the leaves of the arguments at ``positions``.

    Raises DifferentiationError for a leaf that has no derivative and, with ``has_aux``, for a result that is no pair.
    """
    name = f"{transform} of {name_of(fun)}"
    leaves, in_tree = tree.flatten(tuple(args[i] for i in positions))
    table, actual = current_table(), []
    for leaf, path in zip(leaves, _paths(fun, positions, in_tree), strict=True):
        tracer = as_tracer(leaf, name=f"{name}: argument {path}")
        if not is_differentiable(tracer.node):
            raise DifferentiationError(
                f"{name}: argument {path} is {tracer.node.type}, which has no derivative",
                location=str(user_location()),
                hint="leave it out (by argnums, or close over it), or convert it with .astype('f32')",
            )
        actual.append(tracer)
    fresh = [table.parameter(t.node.type, "differentiated") for t in actual]
    trees: list[TreeDef] = []

    def call(*tracers: Tracer) -> Any:
        given = list(args)
        for i, argument in zip(positions, tree.unflatten(in_tree, tracers), strict=True):
            given[i] = argument
        result = fun(*given, **kwargs)
        if has_aux and not (isinstance(result, tuple) and len(result) == 2):
            raise DifferentiationError(
                f"{name}: with has_aux=True the function returns (value, aux), not {_kind(result)}",
                location=str(user_location()),
            )
        trees.extend(tree.structure(part) for part in (result if has_aux else (result,)))
        return result

    traced, _ = subtrace(call, fresh, weak=[t.weak for t in actual], name=name)
    results = raise_formulas(traced)
    return Called(
        name, tuple(fresh), tuple(t.node for t in actual), tuple(results), trees[0], trees[1] if has_aux else None
    )


def anywhere(transform: str, fun: Callable[..., Any], inside: Callable[P, R]) -> Callable[P, R]:
    """A function of ``fun``'s name and signature that runs ``inside`` in a trace, and compiled outside of one."""
    compiled: list[Callable[P, R]] = []

    @functools.wraps(fun)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if has_active_table():
            with at_users_line():
                return inside(*args, **kwargs)
        if not compiled:
            compiled.append(compile_lazily(call))
        return compiled[0](*args, **kwargs)

    call.__name__ = call.__qualname__ = f"{transform}_of_{name_of(fun)}"
    return call


@contextmanager
def at_users_line() -> Iterator[None]:
    """Nodes made inside, and errors that name no line, are at the user's line."""
    here = user_location(2)
    with current_table().at((here,)):
        try:
            yield
        except MlcError as error:
            error.location = error.location or str(here)
            raise


def compile_lazily(function: Callable[P, R]) -> Callable[P, R]:
    from ..staging import jit

    return cast(Callable[P, R], jit(function))


def name_of(fun: object) -> str:
    return str(getattr(fun, "__name__", type(fun).__name__))


def argument_positions(name: str, argnums: int | Sequence[int], count: int) -> tuple[int, ...]:
    """``argnums`` as positions in ``count`` arguments. Raises ArgumentError for any outside."""
    given = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    if any(not -count <= i < count for i in given):
        raise ArgumentError(
            f"{name}: argnums is {argnums}, but the call has {count} positional arguments",
            location=str(user_location()),
            hint="what is differentiated is passed by position",
        )
    positions = tuple(i % count for i in given)
    if not positions or len(set(positions)) != len(positions):
        raise ArgumentError(f"{name}: argnums is {argnums}; it names each argument once", location=str(user_location()))
    return positions


def _paths(fun: Callable[..., Any], positions: Sequence[int], in_tree: TreeDef) -> list[str]:
    """What each leaf is called in the function: ``params['w'][0]``."""
    try:
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        names = [p.name for p in inspect.signature(fun).parameters.values() if p.kind in kinds]
    except (TypeError, ValueError):  # a callable written in C
        names = []
    roots = [names[i] if i < len(names) else str(i) for i in positions]
    return [path for root, child in zip(roots, in_tree.children, strict=True) for path in tree.paths(child, root)]


def _kind(result: object) -> str:
    if isinstance(result, tuple):
        return f"a tuple of {len(result)}"
    return str(result.node.type) if isinstance(result, Tracer) else f"a {type(result).__name__}"
