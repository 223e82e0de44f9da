"""Formulas written by hand to the composites that they are, after the trace and before anything is differentiated.

What is raised is the same function, at least as exact: softmax and its logarithm of logits of any size, the logistic
function without infinities on the way. Exponentials that are used for something else too stay as they are, since they
would be computed twice. Where a logit is infinite, rows that had one NaN are NaN throughout. A relu before a maximum
over windows moves behind it, where it has less to do.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from ..ir.graph import (
    ADD,
    COMPARE,
    COMPOSITE,
    DIVIDE,
    DOT_GENERAL,
    EXPONENTIAL,
    IS_FINITE,
    LOG,
    LOGISTIC,
    MAXIMUM,
    NEGATE,
    REDUCE_WINDOW,
    SELECT,
    SUBTRACT,
    Node,
    current_table,
    full_like,
    reachable,
    reducer_of,
)
from ..ir.graph.op import Op
from ..nn.activations import relu_formula
from ..nn.rows import log_softmax_formula, softmax_formula
from ..numpy.promotion import wrap
from ..tracing import Tracer
from ..tracing.composite import composite
from .view import View, narrow, number, view

Uses = Mapping[Node, int]
"""How many nodes and results use a node."""

Rule = Callable[[Node, Uses], Node | None]
"""A rule maps a node to its replacement (of the same type), or None where it does not apply."""


def raise_formulas(results: Sequence[Node]) -> list[Node]:
    """``results`` with every formula that a rule knows as a composite, rebuilt in the active table.

    What holds no such formula is the same node as before. Calls and composites are not searched: theirs were raised
    when they were traced.
    """
    table, nodes = current_table(), reachable(results)
    count = Counter(o for n in nodes for o in set(n.operands))
    count.update(results)
    new: dict[Node, Node] = {}
    uses: Counter[Node] = Counter()
    for node in nodes:
        operands = [new[o] for o in node.operands]
        changed = any(a is not b for a, b in zip(operands, node.operands, strict=True))
        made = node
        if changed or node.op in RULES:
            with table.at(table.locations.get(node, ()), node.device):
                made = table.rebuild(node, operands) if changed else node
                made = _raised(made, uses)
        new[node] = made
        uses[made] += count[node]
    return [new[r] for r in results]


def _raised(node: Node, uses: Uses) -> Node:
    for rule in RULES.get(node.op, ()):
        replacement = rule(node, uses)
        if replacement is not None and replacement.type == node.type:
            return replacement
    return node


# ---------------------------------------------------------------- rows


def softmax(n: Node, uses: Uses) -> Node | None:
    """exp(z) / sum(exp(z)) over one axis -> softmax(z); of z = x - max(x) -> softmax(x)."""
    e, total = n.operands[0], view(n.operands[1])
    if e.op is not EXPONENTIAL or not _sums(total, e) or uses[e] > 2 or _is_shared(total.path, uses):
        return None
    (axis,) = total.node["dimensions"]
    return composite("softmax", softmax_formula, _before_shift(e.operands[0], axis), axis=axis)[0]


def log_of_softmax(n: Node, uses: Uses) -> Node | None:
    """log(softmax(x)) -> log_softmax(x), which is finite where the softmax is 0."""
    p = n.operands[0]
    if p.op is not COMPOSITE or p["name"] != "softmax":
        return None
    return composite("log_softmax", log_softmax_formula, p.operands[0], axis=p["options"]["axis"])[0]


def log_softmax(n: Node, uses: Uses) -> Node | None:
    """z - log(sum(exp(z))) -> log_softmax(z), also of z = x - max(x), and where the logarithm is that of
    exp(z - top), to which top is added again."""
    z, total = n.operands[0], view(n.operands[1])
    sides: list[tuple[Node, Node | None]] = [(total.node, None)]
    if total.node.op is ADD:
        a, b = total.node.operands
        sides = [(a, b), (b, a)]
    for logarithm, top in sides:
        found = total.to(logarithm) if top is not None else total
        axis = _log_sum_exp_axis(z, found, None if top is None else total.to(top), uses)
        if axis is not None:
            return composite("log_softmax", log_softmax_formula, _before_shift(z, axis), axis=axis)[0]
    return None


def _log_sum_exp_axis(z: Node, logarithm: View, top: View | None, uses: Uses) -> int | None:
    """The axis over which ``logarithm`` is log(sum(exp(z - top))), seen from ``z``."""
    if logarithm.node.op is not LOG:
        return None
    total = logarithm.to(logarithm.node.operands[0])
    e = _summed(total)
    if e is None or e.op is not EXPONENTIAL or not _sums(total, e) or _is_shared((*total.path, e), uses):
        return None
    (axis,) = total.node["dimensions"]
    inner, x = narrow(e.operands[0]), narrow(z)
    if top is None:
        return axis if inner is x else None
    if inner.op is not SUBTRACT or narrow(inner.operands[0]) is not x or top.axes[axis] is not None:
        return None
    return axis if view(inner.operands[1]).is_same(top) else None


def _summed(total: View) -> Node | None:
    """What a reduction adds up, before it was widened."""
    return narrow(total.node.operands[0]) if total.node.operands else None


def _sums(total: View, e: Node) -> bool:
    """Whether ``total`` is the sum of ``e``, perhaps widened, over one axis."""
    if _summed(total) is not e or len(total.node.attributes.get("dimensions", ())) != 1:
        return False
    return total.is_reduction(ADD, total.node.operands[0])


def _before_shift(z: Node, axis: int) -> Node:
    """x of z = x - max(x), where the largest are those along ``axis`` or more: softmax takes them off itself."""
    if z.op is not SUBTRACT:
        return z
    x, top = z.operands[0], view(z.operands[1])
    if top.node.op is COMPOSITE and top.node["name"] == "stop_gradient":
        top = top.to(top.node.operands[0])
    if top.node.op is SELECT and number(top.node.operands[2]) == 0:  # 0 instead of an infinite one
        chosen, top = top.to(top.node.operands[0]), top.to(top.node.operands[1])
        if chosen.node.op is not IS_FINITE or not chosen.to(chosen.node.operands[0]).is_same(top):
            return z
    return x if top.is_reduction(MAXIMUM, x) and axis in top.node["dimensions"] else z


def _is_shared(path: Sequence[Node], uses: Uses) -> bool:
    return any(uses[node] > 1 for node in path)


# ---------------------------------------------------------------- elements


def logistic(n: Node, uses: Uses) -> Node | None:
    """1 / (1 + exp(-x)) and exp(x) / (1 + exp(x)) -> logistic(x), which has a slope everywhere."""
    above, below = n.operands
    if below.op is not ADD or uses[below] > 1:
        return None
    one, e = below.operands if number(below.operands[0]) == 1 else below.operands[::-1]
    if number(one) != 1 or e.op is not EXPONENTIAL:
        return None
    (x,) = e.operands
    if above is e and uses[e] <= 2:
        return LOGISTIC(x)
    if number(above) == 1 and uses[e] <= 1:
        return LOGISTIC(x.operands[0] if x.op is NEGATE else NEGATE(x))
    return None


def relu_by_choice(n: Node, uses: Uses) -> Node | None:
    """where(x > 0, x, 0) and where(x <= 0, 0, x) -> relu(x); the first gives 0 for NaN, and stays so."""
    pred, on_true, on_false = n.operands
    if pred.op is not COMPARE:
        return None
    (a, b), direction = pred.operands, pred["direction"]
    if _is_zero(a):
        a, b, direction = b, a, {"LT": "GT", "GE": "LE"}.get(direction)
    if not _is_zero(b):
        return None
    if direction == "GT" and on_true is a and _is_zero(on_false):
        return composite("relu", positive_part, a)[0]
    if direction == "LE" and on_false is a and _is_zero(on_true):
        return composite("relu", relu_formula, a)[0]
    return None


def relu_by_maximum(n: Node, uses: Uses) -> Node | None:
    """max(x, 0) -> relu(x) where x is a product of matrices or a sum that nothing else uses.

    The derivative of the maximum at 0 is 1/2, that of relu 0. Elsewhere the half may be meant: in
    max(x, 0) + log(1 + exp(-|x|)), which is smooth, it is the slope at 0.
    """
    x, zero = n.operands if _is_zero(n.operands[1]) else n.operands[::-1]
    if not _is_zero(zero) or x.op not in (ADD, DOT_GENERAL) or uses[x] > 1:
        return None
    return composite("relu", relu_formula, x)[0]


def relu_of_windows(n: Node, uses: Uses) -> Node | None:
    """The largest of each window of relu(x) -> relu of the largest of x, bit by bit, and so are their derivatives.

    Not where a window may be all padding, of which the largest is -inf.
    """
    relu, start = n.operands
    if relu.op is not COMPOSITE or relu["name"] != "relu" or uses[relu] > 1 or number(start) != -math.inf:
        return None
    (positive,) = relu["decomposition"].results
    inside = all(
        low < size and high < size for size, (low, high) in zip(n["window_dimensions"], n["padding"], strict=True)
    )
    if reducer_of(n["body"]) is not MAXIMUM or positive.op is not MAXIMUM or max(n["base_dilations"]) > 1 or not inside:
        return None
    largest = current_table().rebuild(n, (relu.operands[0], start))
    return composite("relu", relu_formula, largest)[0]


def positive_part(x: Tracer) -> Tracer:
    zero = full_like(x.node, 0)
    return wrap(SELECT(COMPARE(x.node, zero, direction="GT"), x.node, zero))


def _is_zero(node: Node) -> bool:
    value = number(node)
    return value == 0 and math.copysign(1, value) == 1


RULES: dict[Op, tuple[Rule, ...]] = {
    DIVIDE: (softmax, logistic),
    LOG: (log_of_softmax,),
    SUBTRACT: (log_softmax,),
    MAXIMUM: (relu_by_maximum,),
    SELECT: (relu_by_choice,),
    REDUCE_WINDOW: (relu_of_windows,),
}
