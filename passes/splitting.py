"""Groups that would become too much code are cut into several in a row, where the fewest values cross.

Machine code for one straight piece takes longer than linearly in its length (LLVM's instruction selection and sinking
are quadratic in a block), and nothing is won by fusing that much: the values of one cut are stored and loaded once for
hundreds of operations on each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from mlc.ir.graph import Node
from mlc.ir.types import Shape

from .grouping import Group, Grouping, is_repeatable, work_of

MOST_WORK = 768  # operations an element of one region; 64 sines, or some 13,000 instructions


def split(grouping: Grouping) -> None:
    """Cut every group that has grown beyond ``MOST_WORK``. The last piece keeps the group, with its kind and result."""
    for group in grouping.groups():
        if group.work > MOST_WORK and group.kind != "control":
            pieces = _pieces(group, grouping)
            if len(pieces) > 1:
                _replace(group, pieces, grouping)


def _pieces(group: Group, grouping: Grouping) -> list[list[Node]]:
    """The nodes that are computed once, operands first, cut into pieces; what every reader repeats is in none."""
    root = next(iter(group.nodes))
    order = group.in_order([root])
    once = [n for n in order if n is root or not (is_repeatable(n) or len(grouping.groups_of[n]) > 1)]
    ends = [0, *_cuts(once, _last_reads(order, once)), len(once)]
    return [once[a:b] for a, b in pairwise(ends)]


def _last_reads(order: Sequence[Node], once: Sequence[Node]) -> dict[Node, int]:
    """The place in ``once`` of the last node that reads each, itself or through repeated ones."""
    place = {n: i for i, n in enumerate(once)}
    last: dict[Node, int] = {}
    for node in reversed(order):
        at = place[node] if node in place else last[node]
        for operand in node.operands:
            last[operand] = max(last.get(operand, -1), at)
    return last


def _cuts(once: Sequence[Node], last: dict[Node, int]) -> list[int]:
    """Places that pieces end before: where one is at least half full and the fewest values are read beyond it.

    All these values need one shape, since a region's results do: a piece grows until there is such a place.
    """
    found: list[int] = []
    best: tuple[int, int] | None = None  # how many values, and the place
    work = behind = 0  # of the piece so far, and of what is behind the best place
    alive = Counter[Shape]()
    dying: dict[int, list[Shape]] = {}
    for i, node in enumerate(once):
        if best is not None and work + work_of(node) > MOST_WORK:
            found.append(best[1])
            work, best = behind, None
        work, behind = work + work_of(node), behind + work_of(node)
        alive[node.shape] += 1
        dying.setdefault(last.get(node, i), []).append(node.shape)
        alive -= Counter(dying.pop(i, ()))
        fits = len(alive) == 1 and 2 * work >= MOST_WORK
        if fits and (best is None or alive.total() <= best[0]):
            best, behind = (alive.total(), i + 1), 0
    return found


def _replace(group: Group, pieces: Sequence[Sequence[Node]], grouping: Grouping) -> None:
    """Every piece but the last becomes a loop of its own; each has its own copy of the repeated nodes that it reads."""
    repeated = set(group.nodes).difference(*pieces)
    for node in group.nodes:
        grouping.groups_of[node] = [g for g in grouping.groups_of[node] if g is not group]
    *firsts, rest = pieces
    for piece in firsts:
        _fill(Group("loop", piece[-1]), piece, repeated, grouping)
    root = rest[-1]
    group.nodes, group.work, group.first, group.last = {}, 0, root.uid, root.uid
    _fill(group, rest, repeated, grouping)


def _fill(group: Group, piece: Sequence[Node], repeated: set[Node], grouping: Grouping) -> None:
    """Give ``group`` the nodes of ``piece``, its result first, and what these read that is repeated."""
    nodes = dict.fromkeys(reversed(piece))
    work = list(piece)
    while work:
        read = [o for o in work.pop().operands if o in repeated and o not in nodes]
        nodes.update(dict.fromkeys(read))
        work.extend(read)
    for node in nodes:
        group.add(node)
        grouping.groups_of[node].append(group)
