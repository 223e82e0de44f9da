"""What custom_jvp and custom_vjp share: a function whose calls are composites that name their rule by number."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .. import tree
from ..errors import ArgumentError, DifferentiationError
from ..ir.graph import COMPOSITE, CONVERT, Node, current_table, full_like, has_active_table, results_of
from ..tracing import Tracer, as_node, current_trace, outermost_trace, user_location
from ..tree import TreeDef
from .call import at_users_line, name_of
from .closed import close


@dataclass(frozen=True, eq=False)
class Rule:
    """One call of a function with a derivative of its own: who it is, and what its leaves stand for.

    ``fixed`` are the arguments that are not differentiated, by position.
    """

    owner: Any
    fixed: Mapping[int, Any]
    in_tree: TreeDef
    out_tree: TreeDef
    operands: int

    @property
    def name(self) -> str:
        return name_of(self.owner.fun)

    def arguments(self, leaves: Sequence[Any]) -> tuple[Any, ...]:
        """The differentiated arguments, made of their leaves."""
        found: tuple[Any, ...] = tree.unflatten(self.in_tree, leaves)
        return found

    @property
    def before(self) -> list[Any]:
        """The fixed arguments, as rules are given them."""
        return [self.fixed[i] for i in sorted(self.fixed)]

    def error(self, message: str, hint: str | None = None) -> DifferentiationError:
        where = current_table().current
        return DifferentiationError(
            f"{self.name}: {message}", location=str(where[0] if where else user_location()), hint=hint
        )


class Custom:
    """A function with a rule for its derivative; what it does otherwise is ``fun``'s."""

    composite = ""  # the name of its calls

    def __init__(self, fun: Callable[..., Any], nondiff_argnums: Sequence[int] = ()) -> None:
        if not callable(fun):
            raise ArgumentError(f"{self.composite}: {fun!r:.60} is not a function")
        functools.update_wrapper(self, fun)
        self.fun = fun
        self.nondiff = tuple(nondiff_argnums)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    @property
    def is_ready(self) -> bool:
        """Whether the rule has been given."""
        raise NotImplementedError

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not has_active_table():
            return self.fun(*args, **kwargs)
        with at_users_line():
            return self._call(self._positional(args, kwargs))

    def _call(self, args: tuple[Any, ...]) -> Any:
        name = name_of(self.fun)
        if not self.is_ready:
            raise ArgumentError(
                f"{name}: {self.composite} has no rule", location=str(user_location()),
                hint=f"give it one with {name}.def{self.composite.removeprefix('custom_')}",
            )  # fmt: skip
        places = [i for i in range(len(args)) if i not in self.nondiff]
        fixed = {i: args[i] for i in self.nondiff if i < len(args)}
        given = tuple(args[i] for i in places)

        def call(*some: Any) -> Any:
            return self.fun(*in_order(fixed, some))

        closed = close(call, given, {}, name)
        graph = closed.traced.graph
        if not graph.results:
            return closed.tree_of(())
        in_tree, count = tree.structure(given), len(graph.parameters) - len(closed.traced.captured)
        rules = outermost_trace().rules
        rules.append(Rule(self, fixed, in_tree, closed.traced.out_tree, count))
        options = {"rule": len(rules) - 1}
        node = COMPOSITE(*closed.operands, name=self.composite, decomposition=graph, options=options)
        return closed.tree_of(results_of(node))

    def _positional(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """All arguments by position, with the defaults of those that are not given."""
        try:
            bound = inspect.signature(self.fun).bind(*args, **kwargs)
        except TypeError as error:
            raise ArgumentError(f"{name_of(self.fun)}: {error}", location=str(user_location())) from None
        bound.apply_defaults()
        if bound.kwargs:
            raise ArgumentError(
                f"{name_of(self.fun)}: {self.composite} passes arguments by position, "
                f"and {', '.join(bound.kwargs)} cannot be",
                location=str(user_location()),
            )
        return bound.args


def in_order(fixed: Mapping[int, Any], others: Sequence[Any]) -> list[Any]:
    """All arguments of a function, of which ``fixed`` have their positions."""
    found, rest = [], iter(others)
    for i in range(len(fixed) + len(others)):
        found.append(fixed[i] if i in fixed else next(rest))
    return found


def rule_of(node: Node) -> Any:
    """What the trace keeps under the number that a composite names."""
    return outermost_trace().rules[node["options"]["rule"]]


def check_captured(rule: Rule, tangents: Sequence[Node | None]) -> None:
    """Raise DifferentiationError where a value that the function closes over has a tangent."""
    if any(t is not None for t in tangents[rule.operands :]):
        raise rule.error(
            "its own rule says nothing of values that it closes over, and one of these is differentiated",
            "pass the value as an argument",
        )


@contextmanager
def users_code() -> Iterator[None]:
    """What is called inside is the user's: its nodes are at its own lines."""
    here = current_trace()
    before, here.inside = (here.inside, here.table.current), False
    try:
        yield
    finally:
        here.inside, here.table.current = before


def tracers(nodes: Sequence[Node]) -> list[Tracer]:
    here = current_trace()
    return [Tracer(n, here) for n in nodes]


def fitting(rule: Rule, what: str, values: Sequence[Any], paths: Sequence[str], like: Sequence[Node]) -> list[Node]:
    """Leaves as nodes of the types of ``like``: weak numbers are converted, None is zero."""
    found = []
    for value, path, node in zip(values, paths, like, strict=True):
        if value is None:
            found.append(full_like(node, 0))
            continue
        made = as_node(value)
        weak = value.weak if isinstance(value, Tracer) else isinstance(value, int | float)
        if made.type != node.type and weak and made.shape == node.shape:
            made = CONVERT(made, dtype=node.dtype)
        if made.type != node.type:
            raise rule.error(f"{what}{path} is {made.type} where the value is {node.type}")
        found.append(made)
    return found
