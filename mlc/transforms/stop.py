"""stop_gradient: a value that derivatives do not look behind."""

from __future__ import annotations

from typing import Any

from .. import tree
from ..ir.graph import has_active_table
from ..tracing import Tracer, as_tracer, current_trace
from .call import at_users_line
from .composites import COMPOSITE_RULES, CompositeRule, make_composite

NAME = "stop_gradient"
COMPOSITE_RULES[NAME] = CompositeRule(jvp=lambda operands, results, tangents, options: [None] * len(results))


def stop_gradient(x: Any) -> Any:
    """``x``, a tree of arrays, as a constant: its derivative is zero.

    Example:
        >>> import mlc
        >>> float(mlc.grad(lambda x: x * mlc.stop_gradient(x))(3.0))
        3.0
    """
    if not has_active_table():
        return x
    with at_users_line():
        return tree.map(_stop, x)


def _stop(leaf: Any) -> Tracer:
    tracer = as_tracer(leaf)
    (node,) = make_composite(NAME, lambda v: [v], [tracer.node], {})
    return Tracer(node, current_trace(), tracer.weak)
