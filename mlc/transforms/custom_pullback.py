"""custom_vjp: a function with a pullback that the user wrote; what it gives is its own.

Its tangents are a composite that has no meaning but its transpose: what the user's backward function makes of
cotangents. Where one is left when a trace ends, somebody differentiated forwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any

from .. import tree
from ..errors import DifferentiationError
from ..ir.graph import COMPOSITE, Graph, Node, fill, results_of
from ..ir.graph.node import with_nested
from ..tracing import as_node, outermost_trace
from ..tree import TreeDef
from .composites import make_composite
from .control import spread
from .custom import Custom, Rule, check_captured, fitting, in_order, rule_of, tracers, users_code
from .differentiable import is_differentiable
from .raising import raise_formulas
from .region_rules import REGION_RULES, RegionRule

TANGENTS = "custom_vjp.tangents"


class custom_vjp(Custom):
    """``fun`` with a gradient of its own, which ``defvjp`` gives: JAX's custom_vjp.

    ``fwd`` takes what ``fun`` takes and gives (value, residuals), a tree that is kept for the way back;
    ``bwd(residuals, cotangent)`` gives a tuple with the cotangent of each argument, a tree of arrays (None: zero).
    Arguments at ``nondiff_argnums`` (any Python value) come before these two in ``bwd``, one by one. Differentiated
    forwards it is a DifferentiationError.

    Example:
        >>> import mlc, mlc.numpy as mnp
        >>> @mlc.custom_vjp
        ... def clipped(x):
        ...     return x * 1
        >>> clipped.defvjp(lambda x: (x, None), lambda _, ct: (mnp.clip(ct, -1.0, 1.0),))
        >>> float(mlc.grad(lambda x: 5 * clipped(x))(3.0))
        1.0
    """

    composite = "custom_vjp"
    fwd: Callable[..., Any] | None = None
    bwd: Callable[..., Any] | None = None

    @property
    def is_ready(self) -> bool:
        return self.fwd is not None and self.bwd is not None

    def defvjp(self, fwd: Callable[..., Any], bwd: Callable[..., Any]) -> None:
        """Set both functions."""
        self.fwd, self.bwd = fwd, bwd


@dataclass(frozen=True, eq=False)
class _Pullback:
    """What the tangents of one call need for their transpose: the rule, its residuals, the leaves that have tangents.

    Operands of the tangents are the residuals, the call's own leaves, and the tangents.
    """

    rule: Rule
    residual_tree: TreeDef
    residuals: int
    given: tuple[int, ...]
    results: tuple[Node, ...]


def _tangents(node: Node, tangents: Sequence[Node | None]) -> Sequence[Node | None]:
    rule: Rule = rule_of(node)
    check_captured(rule, tangents)
    results, own = results_of(node), node.operands[: rule.operands]
    floats = [i for i, r in enumerate(results) if is_differentiable(r)]
    if not floats:
        return [None] * len(results)
    residuals, residual_tree = _forward(rule, own)
    given = tuple(i for i, t in enumerate(tangents) if t is not None)
    rules = outermost_trace().rules
    rules.append(_Pullback(rule, residual_tree, len(residuals), given, results))
    operands = [*residuals, *own, *(t for t in tangents if t is not None)]
    shapes = [results[i].tensor for i in floats]
    made = make_composite(TANGENTS, lambda *_: [fill(nan, t) for t in shapes], operands, {"rule": len(rules) - 1})
    return spread(len(results), floats, made)


def _forward(rule: Rule, own: Sequence[Node]) -> tuple[list[Node], TreeDef]:
    """The residuals of the user's forward function, and their tree."""
    with users_code():
        pair = rule.owner.fwd(*in_order(rule.fixed, rule.arguments(tracers(own))))
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise rule.error("its forward function gives a pair, (value, residuals)")
        structure = tree.structure(pair[0])
        if structure != rule.out_tree:
            raise rule.error(f"the value of its forward function: {tree.difference(rule.out_tree, structure)}")
        leaves, residual_tree = tree.flatten(pair[1])
        return raise_formulas([as_node(leaf) for leaf in leaves]), residual_tree


def _cotangents(node: Node, wanted: Sequence[bool], cotangents: Sequence[Node | None]) -> Sequence[Node | None]:
    pullback: _Pullback = rule_of(node)
    rule, count, given = pullback.rule, pullback.residuals, iter(cotangents)
    own = node.operands[count : count + rule.operands]
    whole = [next(given) if is_differentiable(r) else None for r in pullback.results]
    pulled = [fill(0, r.tensor) if c is None else c for r, c in zip(pullback.results, whole, strict=True)]
    with users_code():
        residuals = tree.unflatten(pullback.residual_tree, tracers(node.operands[:count]))
        found = rule.owner.bwd(*rule.before, residuals, tree.unflatten(rule.out_tree, tracers(pulled)))
        leaves = _leaves_of(rule, found)
        paths = [f"[{i}]{path}" for i, child in enumerate(rule.in_tree.children) for path in tree.paths(child)]
        which = pullback.given
        made = fitting(rule, "the cotangent of argument ", [leaves[i] for i in which], [paths[i] for i in which],
                       [own[i] for i in which])  # fmt: skip
    return spread(len(node.operands), range(count + len(own), len(node.operands)), raise_formulas(made))


def _leaves_of(rule: Rule, found: Any) -> list[Any]:
    """The cotangents of all leaves, None for each of an argument that got None."""
    children = rule.in_tree.children
    if not isinstance(found, tuple) or len(found) != len(children):
        given = f"a tuple of {len(found)}" if isinstance(found, tuple) else f"a {type(found).__name__}"
        raise rule.error(f"its backward function gives a tuple with a cotangent for each of {len(children)} arguments, "
                         f"not {given}")  # fmt: skip
    leaves: list[Any] = []
    for i, (child, part) in enumerate(zip(children, found, strict=True)):
        if part is None:
            leaves += [None] * child.num_leaves
            continue
        structure = tree.structure(part)
        if structure != child:
            raise rule.error(f"the cotangent of argument {i}: {tree.difference(child, structure)}")
        leaves += tree.flatten(part)[0]
    return leaves


def _refuse(node: Node, tangents: Sequence[Node | None]) -> Sequence[Node | None]:
    raise _forwards(rule_of(node).rule)


def _forwards(rule: Rule) -> DifferentiationError:
    return rule.error(
        "it has a pullback of its own and no tangents: it cannot be differentiated forwards",
        "mlc.grad and mlc.vjp go backwards; mlc.custom_jvp serves both ways",
    )


def _no_transpose(node: Node, wanted: Sequence[bool], cotangents: Sequence[Node | None]) -> Sequence[Node | None]:
    rule: Rule = rule_of(node)
    raise rule.error("it is part of a rule's tangents, which are linear", "custom_vjp is for values")


def check_transposed(graph: Graph) -> None:
    """Raise DifferentiationError where ``graph`` holds tangents that were not transposed; it is the outermost one."""
    rules: list[Any] = getattr(graph.table.trace, "rules", [])
    for current in with_nested(graph) if rules else ():
        for node in current.nodes:
            if node.op is COMPOSITE and node["name"] == TANGENTS:
                with current.table.active(), current.table.at(current.locations(node)):
                    raise _forwards(rules[node["options"]["rule"]].rule)


REGION_RULES[custom_vjp.composite] = RegionRule(_tangents, _no_transpose)
REGION_RULES[TANGENTS] = RegionRule(_refuse, _cotangents)
