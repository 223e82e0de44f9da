"""All-reduces combined into buckets, and every collective split into its start and its end.

All ranks compile the same graph with the same passes, so that each starts the same collectives in the same order.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

from mlc.ir.graph import (
    ALL_REDUCE,
    COLLECTIVE_DONE,
    COLLECTIVE_START,
    COLLECTIVES,
    TRANSPOSE,
    Graph,
    Node,
    group_size,
    inverse_permutation,
    results_of,
    users,
)  # fmt: skip

from .rewrite import of, rewrite

BUCKET_BYTES = 4 << 20  # of all-reduces that become one: less would pay for latency, more would start late


def combine_all_reduces(graph: Graph) -> Graph:
    """All-reduces of one kind that do not depend on each other as one on several operands, of about BUCKET_BYTES.

    They are taken in the order in which their operands are computed: the gradients of the last layers first.
    """
    buckets = [b for b in _buckets(graph) if len(b) > 1]
    if not buckets:
        return graph
    bucket_of = {member: bucket for bucket in buckets for member in bucket}
    table = graph.table
    new: dict[Node, Node] = {}
    with table.active():
        for node in _in_order(graph, bucket_of):
            bucket = bucket_of.get(node)
            if bucket is None:
                with table.at(graph.locations(node), node.device):
                    new[node] = table.rebuild(node, [new[o] for o in node.operands])
            elif node is bucket[0]:
                found = tuple(dict.fromkeys(x for member in bucket for x in graph.locations(member)))
                with table.at(found, node.device):
                    new.update(zip(bucket, _start_and_end(node, [new[m.operands[0]] for m in bucket]), strict=True))
    return graph.with_results([new[r] for r in graph.results])


def _buckets(graph: Graph) -> Iterable[tuple[Node, ...]]:
    """All-reduces of one kind and one depth, which so do not depend on each other, cut where a bucket is full."""
    depth: dict[Node, int] = {}
    kinds: dict[object, list[Node]] = {}
    for node in graph.nodes:
        depth[node] = max((depth[o] for o in node.operands), default=0)
        if node.op is ALL_REDUCE:
            depth[node] += 1
            if node.tensor.is_static and group_size(node) > 1:
                key = (depth[node], node["reduction"], node["replica_groups"], node.dtype, node.device)
                kinds.setdefault(key, []).append(node)
    for members in kinds.values():
        bucket: list[Node] = []
        for node in sorted(members, key=lambda n: n.operands[0].uid):
            sofar = _bytes(bucket) if bucket else 0
            if sofar >= BUCKET_BYTES // 4 and sofar + _bytes([node]) > BUCKET_BYTES:
                yield tuple(bucket)
                bucket = []
            bucket.append(node)
        yield tuple(bucket)


def _bytes(nodes: Sequence[Node]) -> int:
    sizes = [n.tensor.size for n in nodes]
    return sum(n for n in sizes if isinstance(n, int)) * nodes[0].dtype.itemsize


def _in_order(graph: Graph, bucket_of: dict[Node, tuple[Node, ...]]) -> Iterable[Node]:
    """The nodes so that all operands of a bucket come before its first member, and users of any member behind it."""
    first = {n: bucket_of[n][0] if n in bucket_of else n for n in graph.nodes}
    needs: dict[Node, set[Node]] = {first[n]: set() for n in graph.nodes}
    for node in graph.nodes:
        needs[first[node]].update(first[o] for o in node.operands)
    followers = users(graph.nodes)
    waiting = {n: len(before) for n, before in needs.items()}
    ready = [(n.uid, n) for n, count in waiting.items() if not count]
    heapq.heapify(ready)
    while ready:
        _, node = heapq.heappop(ready)
        members = bucket_of.get(node, (node,))
        yield node
        for user in dict.fromkeys(first[u] for m in members for u in followers.get(m, ())):
            waiting[user] -= 1
            if not waiting[user]:
                heapq.heappush(ready, (user.uid, user))


def split_collectives(graph: Graph) -> Graph:
    """Every collective as its start and its end, between which other steps run; one of a single rank is its operand."""
    return rewrite(graph, [_split])


@of(*COLLECTIVES)
def _split(node: Node) -> Node:
    return node.operands[0] if group_size(node) == 1 else _along_first_axis(node, node.operands[0])


def _along_first_axis(node: Node, operand: Node) -> Node:
    """Blocks lie side by side in memory along axis 0 alone: another axis is moved there and back."""
    axis = node.attributes.get("dimension", 0)
    if not axis:
        return _start_and_end(node, [operand])[0]
    order = (axis, *(a for a in range(len(operand.shape)) if a != axis))
    (moved,) = _start_and_end(node, [TRANSPOSE(operand, permutation=order)])
    return TRANSPOSE(moved, permutation=inverse_permutation(order))


def _start_and_end(node: Node, operands: Sequence[Node]) -> tuple[Node, ...]:
    start = COLLECTIVE_START(
        *operands, kind=node.op.name, reduction=node.attributes.get("reduction", "add"),
        replica_groups=node["replica_groups"],
    )  # fmt: skip
    return results_of(COLLECTIVE_DONE(start))
