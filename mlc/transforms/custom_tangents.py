"""custom_jvp: a function with tangents that the user wrote; what it gives is its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import tree
from ..ir.graph import Node, full_like, results_of
from .control import spread
from .custom import Custom, Rule, check_captured, fitting, in_order, rule_of, tracers, users_code
from .differentiable import is_differentiable
from .raising import raise_formulas
from .region_rules import REGION_RULES, RegionRule


class custom_jvp(Custom):
    """``fun`` with a derivative of its own, which ``defjvp`` gives: JAX's custom_jvp.

    ``rule(primals, tangents)``, two tuples of the arguments' trees, gives the value and its tangent, linear in the
    tangents; both ways of differentiating use it. Arguments at ``nondiff_argnums`` (any Python value) come before
    these two, one by one.

    Example:
        >>> import mlc, mlc.numpy as mnp
        >>> @mlc.custom_jvp
        ... def softplus(x):
        ...     return mnp.log(1 + mnp.exp(x))
        >>> @softplus.defjvp
        ... def rule(primals, tangents):
        ...     (x,), (t,) = primals, tangents
        ...     return softplus(x), t / (1 + mnp.exp(-x))
        >>> float(mlc.grad(softplus)(0.0))
        0.5
    """

    composite = "custom_jvp"
    rule: Callable[..., Any] | None = None

    @property
    def is_ready(self) -> bool:
        return self.rule is not None

    def defjvp(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """Set the rule; a decorator."""
        self.rule = rule
        return rule

    def defjvps(self, *rules: Callable[..., Any] | None) -> None:
        """One rule an argument, each an array: ``rule(tangent, value, *arguments)`` is its share; None is zero."""

        def rule(*given: Any) -> tuple[Any, Any]:
            *fixed, primals, tangents = given
            value = self.fun(*in_order(dict(zip(self.nondiff, fixed, strict=True)), primals))
            shares = [r(t, value, *primals) for r, t in zip(rules, tangents, strict=True) if r is not None]
            total = sum(shares[1:], start=shares[0]) if shares else value * 0
            return value, total

        self.rule = rule


def _tangents(node: Node, tangents: Sequence[Node | None]) -> Sequence[Node | None]:
    rule: Rule = rule_of(node)
    check_captured(rule, tangents)
    results, own = results_of(node), node.operands[: rule.operands]
    given = [full_like(x, 0) if t is None else t for x, t in zip(own, tangents, strict=False)]
    floats = [i for i, r in enumerate(results) if is_differentiable(r)]
    with users_code():
        pair = rule.owner.rule(*rule.before, rule.arguments(tracers(own)), rule.arguments(tracers(given)))
        leaves = _leaves_of_tangent(rule, pair)
        paths = tree.paths(rule.out_tree)
        made = fitting(rule, "the tangent of its rule", [leaves[i] for i in floats], [paths[i] for i in floats],
                       [results[i] for i in floats])  # fmt: skip
    return spread(len(results), floats, raise_formulas(made))


def _leaves_of_tangent(rule: Rule, pair: Any) -> list[Any]:
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise rule.error("its rule gives a pair, (value, tangent)")
    for what, part in zip(("value", "tangent"), pair, strict=True):
        structure = tree.structure(part)
        if structure != rule.out_tree:
            raise rule.error(f"the {what} that its rule gives: {tree.difference(rule.out_tree, structure)}")
    return tree.flatten(pair[1])[0]


def _cotangents(node: Node, wanted: Sequence[bool], cotangents: Sequence[Node | None]) -> Sequence[Node | None]:
    rule: Rule = rule_of(node)
    raise rule.error("it is used where values are linear in what is differentiated", "use it on values")


REGION_RULES[custom_jvp.composite] = RegionRule(_tangents, _cotangents)
