"""Operands that lie along another axis than the results: square tiles, turned in registers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlc.ir.dims import bounds
from mlc.ir.kernel import Index, IndexVariable, KernelBuilder, Value

from .access import Access
from .axes import Group
from .domain import Domain, coefficient_of
from .elements import Elements, Point
from .tasks import TASK_COST, cut, vector_loop

SIDE = 64  # columns of a task: whole cache lines of every row that it reads and writes
MOST_APART = 16  # lanes that are read one by one, or turned: more is much code for nothing
Bounds = tuple[Index, Index]


@dataclass(frozen=True, slots=True)
class Turned:
    """Accesses that are contiguous along ``group``, where the results are along another."""

    group: Group
    accesses: tuple[Access, ...]


def find_turned(domain: Domain, accesses: Sequence[Access], groups: Sequence[Group], lanes: int) -> Turned | None:
    """The group along which most operands lie that do not lie along the last group; None where there is none.

    Both groups must hold a square of ``lanes``.
    """
    best: Turned | None = None
    for group in groups[:-1]:
        if lanes < 4 or min(bounds(group.extent)[1], bounds(groups[-1].extent)[1]) < lanes:
            continue
        found = tuple(a for a in accesses if _is_turned(a, domain, group.variable, groups[-1].variable))
        if found and (best is None or len(found) > len(best.accesses)):
            best = Turned(group, found)
    return best


def _is_turned(access: Access, domain: Domain, along: IndexVariable, lane: IndexVariable) -> bool:
    if access.node.op.name != "parameter" or access.guards:
        return False
    address = domain.linear(access.node.shape, access.coordinates)
    if any(v in domain.derived for v in address.variables):
        return False
    here, there = coefficient_of(address, lane), coefficient_of(address, along)
    return here is not None and here.constant not in (0, 1, -1) and there is not None and there.constant == 1


def lies_apart(domain: Domain, accesses: Sequence[Access], group: Group) -> bool:
    """Whether an operand's elements are not neighbours along ``group``."""
    for access in accesses:
        if access.node.op.name == "parameter":
            address = domain.linear(access.node.shape, access.coordinates)
            step = coefficient_of(address, group.variable)
            derived = any(group.variable in domain.dependencies(Index.of(v)) for v in domain.derived)
            if derived or step is None or step.constant not in (0, 1, -1):
                return True
    return False


def cut_squares(groups: Sequence[Group], cost: int, lanes: int) -> tuple[int | None, ...]:
    """Grains of a nest whose last two groups are walked in squares."""
    *outer, rows, columns = (g.extent for g in groups)
    most = bounds(columns)[1]
    side = max(SIDE, lanes)
    of_columns = None if most <= 2 * side else side
    width = most if of_columns is None else of_columns
    (of_rows,) = cut([rows], cost * width, lanes)
    if of_columns is not None or of_rows is not None:
        return (*(1 for _ in outer), of_rows, of_columns)
    area = max(width * bounds(rows)[1], 1)
    return (*cut(outer, min(cost * area, TASK_COST)), None, None)


def turned_loops(
    elements: Elements,
    domain: Domain,
    turned: Turned,
    columns: Group,
    ranges: tuple[Bounds, Bounds],
    lanes: int,
    at: dict[IndexVariable, Index],
    store: Callable[[Point], None],
) -> None:
    """Walk rows (of the turned group) and columns in squares; what is left over element by element of the operand."""
    b, rows = elements.builder, turned.group

    def place(row: Index, column: Index, lane: IndexVariable, mask: Value | None = None) -> Point:
        return Point(elements, domain, at | rows.at(row) | columns.at(column), lanes, lane, mask)

    def square(row: Index, column: Index) -> None:
        found = {}
        for access in turned.accesses:
            lines = [place(row, column + k, rows.variable).element(access) for k in range(lanes)]
            found[access] = transpose(b, lines)
        for k in range(lanes):
            point = place(row + k, column, columns.variable)
            for access, lines in found.items():
                point.assume(access, lines[k])
            store(point)

    def leftover(row: Index, stop: Index, column: Index, mask: Value | None) -> None:
        with b.loop(row, stop) as loop:
            store(place(loop.index, column, columns.variable, mask))

    def of_row(row: Index, mask: Value | None) -> None:
        stop = ranges[0][1] if mask is not None else row + lanes

        def of_column(column: Index, tail: Value | None) -> None:
            if mask is None and tail is None:
                square(row, column)
            else:
                leftover(row, stop, column, tail)

        vector_loop(b, *ranges[1], elements.sizes.index(columns.extent), lanes, 1, of_column)

    vector_loop(b, *ranges[0], elements.sizes.index(rows.extent), lanes, 1, of_row)


def transpose(b: KernelBuilder, rows: Sequence[Value]) -> list[Value]:
    """As many vectors as they have lanes (a power of two), turned: lane j of vector i becomes lane i of vector j."""
    lanes, found = len(rows), list(rows)
    distance = 1
    while distance < lanes:
        low = tuple(i if not i & distance else lanes + i - distance for i in range(lanes))
        high = tuple(i + distance if not i & distance else lanes + i for i in range(lanes))
        for i in range(lanes):
            if not i & distance:
                x, y = found[i], found[i + distance]
                found[i], found[i + distance] = b.shuffle(x, y, low), b.shuffle(x, y, high)
        distance *= 2
    return found
