"""Open calls and composites, and bring every op into the forms that the schedules know."""

from __future__ import annotations

from collections.abc import Sequence

from mlc.ir.dims import size_product
from mlc.ir.graph import (
    ABS,
    ADD,
    CALL,
    CLAMP,
    COMPARE,
    COMPOSITE,
    CONSTANT,
    CONVERT,
    DOT_GENERAL,
    FLOOR,
    GET_TUPLE_ELEMENT,
    MAXIMUM,
    MINIMUM,
    MULTIPLY,
    NEGATE,
    OPTIMIZATION_BARRIER,
    REDUCE,
    RNG_BIT_GENERATOR,
    ROUND_NEAREST_AFZ,
    SELECT,
    SUBTRACT,
    TRANSPOSE,
    Graph,
    Literal,
    Node,
    body_of,
    broadcast_in_dim,
    constant,
    dot_general,
    fill,
    free_axes,
    identity_of,
    inline,
    reducer_of,
    reshape,
)  # fmt: skip
from mlc.ir.types import BF16, F16, F32, U64

from .convolution import open_convolution
from .rewrite import Rule, of, rewrite
from .sorting import open_sort, open_sorts
from .threefry import next_key, next_state, random_bits
from .windows import open_reduce_window, open_select_and_gather, open_select_and_scatter


def decompose(graph: Graph) -> Graph:
    return rewrite(open_calls(graph), RULES)


def open_calls(graph: Graph) -> Graph:
    """Replace every call and composite by what it computes, inner ones too."""
    while any(n.op is CALL or n.op is COMPOSITE for n in graph.nodes):
        graph = _open_once(graph)
    return graph


def _open_once(graph: Graph) -> Graph:
    table = graph.table
    new: dict[Node, Node] = {}
    opened: dict[Node, tuple[Node, ...]] = {}
    with table.active():
        for node in graph.nodes:
            operands = [new[o] for o in node.operands]
            table.current, table.device = graph.locations(node), node.device
            if node.op is CALL or node.op is COMPOSITE:
                opened[node] = inline(node["callee" if node.op is CALL else "decomposition"], operands)
                new[node] = opened[node][0] if opened[node] else node
            elif node.op is GET_TUPLE_ELEMENT and node.operands[0] in opened:
                new[node] = opened[node.operands[0]][node["index"]]
            else:
                new[node] = table.rebuild(node, operands)
    table.current, table.device = (), None
    return graph.with_results([new[r] for r in graph.results])


@of(CLAMP)
def clamp(n: Node) -> Node | None:
    """clamp(low, x, high) -> minimum(maximum(x, low), high)."""
    if n.op is CLAMP:
        low, x, high = n.operands
        return MINIMUM(MAXIMUM(x, low), high)
    return None


@of(OPTIMIZATION_BARRIER)
def barrier(n: Node) -> Node | None:
    """A constant behind a barrier is that constant; other barriers stay, as the ends of fusions."""
    if n.op is OPTIMIZATION_BARRIER and n.operands[0].op is CONSTANT:
        return n.operands[0]
    return None


@of(REDUCE)
def start_from_identity(n: Node) -> Node | None:
    """reduce(x, init) -> op(reduce(x, identity), init): kernels start from the identity of their op.

    f16 and bf16 are kept in f32 throughout, so that there is one rounding still.
    """
    if n.op is not REDUCE:
        return None
    op, init = reducer_of(n["body"]), n.operands[1]
    identity = identity_of(op, n.dtype)
    if init.op is CONSTANT and init["value"] == Literal(identity, n.dtype):
        return None
    if n.dtype in (F16, BF16):
        x, start = (CONVERT(o, dtype=F32) for o in n.operands)
        wide = REDUCE(x, start, dimensions=n["dimensions"], body=body_of(op, F32))
        return CONVERT(start_from_identity(wide) or wide, dtype=n.dtype)
    folded = REDUCE(n.operands[0], constant(identity, n.dtype), dimensions=n["dimensions"], body=n["body"])
    return op(folded, broadcast_in_dim(init, n.shape, ()))


@of(ROUND_NEAREST_AFZ)
def round_away(n: Node) -> Node | None:
    """No CPU rounds halves away from zero: by what the absolute value has behind the point, with the sign put back."""
    (x,) = n.operands
    size, one = ABS(x), fill(1.0, n.tensor)
    whole = FLOOR(size)
    up = COMPARE(SUBTRACT(size, whole), fill(0.5, n.tensor), direction="GE")
    rounded = SELECT(up, ADD(whole, one), whole)
    zero = COMPARE(x, fill(0.0, n.tensor), direction="EQ")
    negative = COMPARE(x, fill(0.0, n.tensor), direction="LT")
    return SELECT(zero, x, SELECT(negative, NEGATE(rounded), rounded))


@of(GET_TUPLE_ELEMENT)
def random(n: Node) -> Node | None:
    """The elements of rng_bit_generator as elementwise integer arithmetic."""
    if n.op is not GET_TUPLE_ELEMENT or n.operands[0].op is not RNG_BIT_GENERATOR:
        return None
    generator = n.operands[0]
    key = generator.operands[0]
    if n["index"] == 0:
        return next_state(key, generator["shape"]) if key.dtype == U64 else next_key(key)
    return random_bits(key, generator["shape"], generator["dtype"])


# ---------------------------------------------------------------- contractions


@of(DOT_GENERAL)
def canonical_dot(n: Node) -> Node | None:
    """A contraction with at most one free axis on each side and exactly one contracted axis.

    Free axes of one side are merged, and contracted ones: in place by a reshape where they are neighbours in order,
    after a transpose elsewhere. Batch axes stay as they are.
    """
    if n.op is not DOT_GENERAL:
        return None
    if not n["lhs_contracting"]:
        return _outer_product(n)
    lhs = _roles(n.operands[0], n["lhs_batch"], n["lhs_contracting"])
    rhs = _roles(n.operands[1], n["rhs_batch"], n["rhs_contracting"])
    if all(len(axes) <= 1 for axes in (*lhs, *rhs)):
        return None
    left, left_axes = _merge(n.operands[0], lhs)
    right, right_axes = _merge(n.operands[1], rhs)
    batch = len(n["lhs_batch"])
    dot = dot_general(
        left, right, left_axes[-1], right_axes[-1], _joined(left_axes[:batch]), _joined(right_axes[:batch])
    )
    return reshape(dot, n.shape)


Roles = list[tuple[int, ...]]
"""Axes of an operand: those of each batch, the free ones, the contracted ones."""


def _roles(x: Node, batch: Sequence[int], contracting: Sequence[int]) -> Roles:
    return [*((a,) for a in batch), free_axes(len(x.shape), batch, contracting), tuple(contracting)]


def _joined(roles: Roles) -> tuple[int, ...]:
    return tuple(a for axes in roles for a in axes)


def _merge(x: Node, roles: Roles) -> tuple[Node, Roles]:
    """``x`` with the axes of each role merged to one (none stays none), and where they are now."""
    if any(axes != tuple(range(axes[0], axes[0] + len(axes))) for axes in roles if axes):
        x = TRANSPOSE(x, permutation=_joined(roles))
        places = iter(range(len(x.shape)))
        roles = [tuple(next(places) for _ in axes) for axes in roles]
    order = sorted(axes for axes in roles if axes)
    merged = reshape(x, tuple(size_product(x.shape[a] for a in axes) for axes in order))
    return merged, [(order.index(axes),) if axes else () for axes in roles]


def _outer_product(n: Node) -> Node:
    """Nothing is summed: the product of the operands broadcast over each other."""
    lhs, rhs = n.operands
    batch = len(n["lhs_batch"])
    left = free_axes(len(lhs.shape), n["lhs_batch"])
    where_left = {a: i for i, a in enumerate((*n["lhs_batch"], *left))}
    right = free_axes(len(rhs.shape), n["rhs_batch"])
    where_right = {a: i for i, a in enumerate(n["rhs_batch"])}
    where_right |= {a: batch + len(left) + i for i, a in enumerate(right)}
    return MULTIPLY(_spread(lhs, where_left, n), _spread(rhs, where_right, n))


def _spread(x: Node, where: dict[int, int], n: Node) -> Node:
    order = tuple(sorted(range(len(x.shape)), key=lambda a: where[a]))
    if order != tuple(range(len(order))):
        x = TRANSPOSE(x, permutation=order)
    return broadcast_in_dim(x, n.shape, tuple(sorted(where.values())))


RULES: tuple[Rule, ...] = (
    clamp,
    barrier,
    start_from_identity,
    random,
    round_away,
    open_convolution,
    open_reduce_window,
    open_select_and_gather,
    open_select_and_scatter,
    open_sort,
    open_sorts,
    canonical_dot,
)
