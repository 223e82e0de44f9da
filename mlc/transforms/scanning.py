"""Derivatives of scan: scans again.

The tangents are one scan, linear in them, over what the body computed on the way (the residuals), which an extended
copy of the scan gives beside its results; a pass has one scan do the work of both. The transpose runs the other way.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.graph import ADD, BROADCAST_IN_DIM, PARAMETER, RESHAPE, Graph, Node, Table, full_like, inline, reachable
from ..ir.graph.scan import NAME, Scan
from .control import or_zero, push_region, spread
from .cotangent import transpose
from .region_rules import REGION_RULES, RegionRule
from .substitute import dependents


def scan_tangents(node: Node, tangents: Sequence[Node | None]) -> Sequence[Node | None]:
    """The tangents of a scan's results as a scan that is linear in those of its operands."""
    scan = Scan.of(node)
    given = [t is not None for t in tangents]
    first = scan.consts
    while True:  # until the carried values that have tangents stay the same
        table = Table()
        parameters, fresh, results, found = push_region(scan.body, given, table)
        grown = list(given)
        for i in range(scan.carries):
            grown[first + i] = given[first + i] or found[i] is not None
        if grown == given:
            break
        given = grown
    count = len(results)
    carried = [i for i in range(scan.carries) if given[first + i]]
    stacked = [i for i in range(scan.carries, count) if found[i] is not None]
    live = [*carried, *stacked]
    if not live:
        return [None] * count
    with table.active():
        pushed = [or_zero(found[i], results[i]) for i in live]
    linear = _Linear(scan, parameters, fresh, given, pushed)
    residuals = linear.residuals
    kept: list[Node] = []
    if residuals:
        body = Graph(scan.body.name, parameters, (*results, *residuals), table)
        kept = list(Scan(body, scan.length, scan.reverse, scan.consts, scan.carries)(node.operands)[count:])
    operands = [None if t is None and not g else t if t is not None else full_like(node.operands[i], 0.0)
                for i, (t, g) in enumerate(zip(tangents, given, strict=True))]  # fmt: skip
    consts, carries, arrays = ([x for x in part if x is not None] for part in _split(scan, operands))
    known = dict(zip(parameters, node.operands, strict=True))
    arguments = [
        *(known[p] for p in linear.consts), *consts, *carries, *(known[p] for p in linear.arrays), *kept, *arrays,
    ]  # fmt: skip
    whole = Scan(linear.body, scan.length, scan.reverse, len(linear.consts) + len(consts), len(carries))
    return spread(count, live, whole(arguments))


def _split(scan: Scan, values: Sequence[Node | None]) -> tuple[Sequence[Node | None], ...]:
    k, c = scan.consts, scan.consts + scan.carries
    return values[:k], values[k:c], values[c:]


class _Linear:
    """The part of a body that is linear in its tangents, as the body of a scan of its own.

    It reads ``consts`` and ``arrays`` (parameters of the body) and ``residuals`` (what depends on carried values, or
    costs to compute again), and computes the rest from these.
    """

    def __init__(
        self, scan: Scan, parameters: Sequence[Node], fresh: Sequence[Node], given: Sequence[bool],
        pushed: Sequence[Node],
    ) -> None:  # fmt: skip
        nodes = reachable(pushed)
        linear = dependents(nodes, fresh)
        consts, carried, arrays = scan.split(parameters)
        varying = dependents(reachable(pushed, also=parameters), [*carried, *arrays])
        stored: dict[Node, None] = {}
        for n in nodes:
            if n in linear and n.op is not PARAMETER:
                stored.update((self._source(o), None) for o in n.operands if o not in linear)
        self.residuals = [n for n in stored if n in varying and n not in arrays]
        read = set(reachable(pushed, also=(*self.residuals, *fresh)))
        self.consts = [p for p in consts if p in read]
        self.arrays = [p for p in arrays if p in read]
        self.body = self._build(scan, fresh, given, pushed)

    @staticmethod
    def _source(node: Node) -> Node:
        """What a broadcast or reshape is of: less to store."""
        while node.op is BROADCAST_IN_DIM or node.op is RESHAPE:
            node = node.operands[0]
        return node

    def _build(self, scan: Scan, fresh: Sequence[Node], given: Sequence[bool], pushed: Sequence[Node]) -> Graph:
        table = Table()
        of = iter(fresh)
        tangents = [next(of) if g else None for g in given]
        consts, carries, arrays = ([t for t in part if t is not None] for part in _split(scan, tangents))
        order = [*self.consts, *consts, *carries, *self.arrays, *self.residuals, *arrays]
        with table.active():
            new = {n: table.parameter(n.type) for n in order}
            for n in reachable(pushed, also=order):
                if n not in new:
                    new[n] = table.copy(n, [new[o] for o in n.operands])
        return Graph("tangents", [new[n] for n in order], [new[p] for p in pushed], table)


def scan_cotangents(node: Node, wanted: Sequence[bool], cotangents: Sequence[Node | None]) -> Sequence[Node | None]:
    """The transpose of a scan that is linear in its carried values and the wanted constants and arrays.

    It runs from the other end, carries the cotangents of the carried values, and adds up those of the constants.
    """
    scan = Scan.of(node)
    first, last = scan.consts, scan.consts + scan.carries
    consts = [i for i in range(first) if wanted[i]]
    arrays = [i for i in range(last, len(wanted)) if wanted[i]]
    linear = [*consts, *range(first, last), *arrays]
    fixed = [i for i in range(len(wanted)) if i not in linear]
    present = [i for i in range(scan.carries, len(cotangents)) if cotangents[i] is not None]
    body, table = scan.body, Table()
    with table.active():
        parameters = [table.parameter(p.type) for p in body.parameters]
        of_carries = [table.parameter(p.type) for p in body.parameters[first:last]]
        sums = [table.parameter(body.parameters[i].type) for i in consts]
        of_slices = [table.parameter(body.results[i].type) for i in present]
        results = inline(body, parameters)
        given = [*of_carries, *spread(len(results) - scan.carries, [i - scan.carries for i in present], of_slices)]
        wrt = [parameters[i] for i in linear]
        parts = transpose(results, wrt, given)
        k = len(consts)
        added = [s if part is None else ADD(s, part) for s, part in zip(sums, parts[:k], strict=True)]
        others = [or_zero(part, p) for part, p in zip(parts[k:], wrt[k:], strict=True)]
        made = [*others[: scan.carries], *added, *others[scan.carries :]]
    head = [i for i in fixed if i < first]
    tail = [i for i in fixed if i >= last]
    order = [*(parameters[i] for i in head), *of_carries, *sums, *(parameters[i] for i in tail), *of_slices]
    back = Scan(Graph("cotangents", order, made, table), scan.length, not scan.reverse, len(head), scan.carries + k)
    operands = node.operands
    arguments = [
        *(operands[i] for i in head),
        *(or_zero(c, o) for c, o in zip(cotangents[: scan.carries], operands[first:last], strict=True)),
        *(full_like(operands[i], 0.0) for i in consts),
        *(operands[i] for i in tail),
        *(c for c in (cotangents[i] for i in present) if c is not None),
    ]
    found = back(arguments)
    return spread(len(wanted), [*range(first, last), *consts, *arrays], found)


REGION_RULES[NAME] = RegionRule(scan_tangents, scan_cotangents)
