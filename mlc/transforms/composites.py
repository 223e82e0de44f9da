"""Derivatives of composites as a whole: the registry of rules, and how what they give becomes composites again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import InternalError
from ..ir.graph import COMPOSITE, Graph, Node, Table, full_like, reachable, results_of
from .differentiable import is_differentiable

Options = Mapping[str, Any]

# jvp(operands, results, tangents, options) -> one tangent a result; linear in the tangents, None is zero
CompositeJvp = Callable[[Sequence[Node], Sequence[Node], Sequence[Node | None], Options], Sequence[Node | None]]
# vjp(operands, results, cotangents, options) -> one cotangent an operand (None: zero)
CompositeVjp = Callable[[Sequence[Node], Sequence[Node], Sequence[Node | None], Options], Sequence[Node | None]]


@dataclass(frozen=True, slots=True)
class CompositeRule:
    """How a composite differentiates as a whole.

    ``jvp`` alone: its nodes are the tangents, transposed by the op rows. With ``vjp``: tangents are one composite
    ``NAME.jvp``, which is linear and is transposed to one composite ``NAME.vjp``.
    """

    jvp: CompositeJvp
    vjp: CompositeVjp | None = None


COMPOSITE_RULES: dict[str, CompositeRule] = {}


def has_rule(node: Node) -> bool:
    return node.op is COMPOSITE and node["name"] in COMPOSITE_RULES


def has_transpose(node: Node) -> bool:
    """Whether the node is the tangents of a composite whose rule has a vjp."""
    return node.op is COMPOSITE and "tangents_of" in node["options"]


def composite_tangents(node: Node, tangents: Sequence[Node | None]) -> Sequence[Node | None]:
    """The tangents of a composite's results, by its rule."""
    name, options = node["name"], node["options"]
    rule = COMPOSITE_RULES[name]
    results = results_of(node)
    if rule.vjp is None:
        return rule.jvp(node.operands, results, tangents, options)
    given = tuple(i for i, t in enumerate(tangents) if t is not None)
    n, m = len(node.operands), len(results)
    floats = [i for i, r in enumerate(results) if is_differentiable(r)]

    def formula(*nodes: Node) -> Sequence[Node]:
        found = rule.jvp(nodes[:n], nodes[n : n + m], _placed(n, given, nodes[n + m :]), options)
        return [_or_zero(found[i], nodes[n + i]) for i in floats]

    if not floats:
        return [None] * m
    present = [t for t in tangents if t is not None]
    marked = {**options, "tangents_of": name, "given": given, "operands": n, "results": m}
    made = make_composite(f"{name}.jvp", formula, (*node.operands, *results, *present), marked)
    return _placed(m, floats, made)


def composite_cotangents(node: Node, cotangents: Sequence[Node | None]) -> Sequence[Node | None]:
    """The cotangents of the operands of a ``NAME.jvp`` composite: None for all but the tangents."""
    marked = node["options"]
    name, given, n, m = marked["tangents_of"], marked["given"], marked["operands"], marked["results"]
    options = {k: v for k, v in marked.items() if k not in ("tangents_of", "given", "operands", "results")}
    vjp = COMPOSITE_RULES[name].vjp
    if vjp is None:
        raise InternalError(f"{name}.jvp was made by a rule with a vjp, which is gone")
    floats = [i for i, r in enumerate(node.operands[n : n + m]) if is_differentiable(r)]
    which = [i for i, c in zip(floats, cotangents, strict=True) if c is not None]

    def formula(*nodes: Node) -> Sequence[Node]:
        parts = vjp(nodes[:n], nodes[n : n + m], _placed(m, which, nodes[n + m :]), options)
        return [_or_zero(parts[i], nodes[i]) for i in given]

    present = [c for c in cotangents if c is not None]
    pulled = make_composite(f"{name}.vjp", formula, (*node.operands[: n + m], *present), options, drop_unused=True)
    return (*(None for _ in range(n + m)), *pulled)


def make_composite(
    name: str, formula: Callable[..., Sequence[Node]], operands: Sequence[Node], options: Options, *,
    drop_unused: bool = False,
) -> tuple[Node, ...]:  # fmt: skip
    """The results of ``formula(*operands)`` as those of one composite, if asked without unused operands."""
    inner = Table()
    with inner.active():
        parameters = [inner.parameter(o.type) for o in operands]
        graph = Graph(name, parameters, formula(*parameters), inner)
    if drop_unused:
        used = set(reachable(graph.results))
        operands = [o for o, p in zip(operands, parameters, strict=True) if p in used]
        graph = Graph(name, [p for p in parameters if p in used], graph.results, inner)
    return results_of(COMPOSITE(*operands, name=name, decomposition=graph, options=options))


def _placed(length: int, positions: Sequence[int], nodes: Sequence[Node]) -> list[Node | None]:
    """A list of ``length`` with ``nodes`` at ``positions`` and None elsewhere."""
    placed: list[Node | None] = [None] * length
    for i, node in zip(positions, nodes, strict=True):
        placed[i] = node
    return placed


def _or_zero(node: Node | None, like: Node) -> Node:
    return full_like(like, 0.0) if node is None else node
