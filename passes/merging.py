"""Which nodes share a region, then: groups merge along edges, as whole rows, and with siblings that read the same.

Two groups merge where no third one lies between them. Groups know their neighbours, and the search for a third gives
up early, so that the time is linear in nodes: a merge that it cannot prove safe is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mlc.ir.graph import TRANSPOSE, Node

from .grouping import Group, Grouping
from .rows import is_row, make_rows, row_space
from .splitting import MOST_WORK

MOST_BUFFERS = 28  # operands and results of one fused kernel: more would spill the pointers
MOST_SEARCHED = 64  # groups that a search for a path visits
MOST_SIBLINGS = 8  # groups of one key that another is tried with


def merge(grouping: Grouping) -> None:
    """Merge along edges and between siblings until nothing changes."""
    _Merging(grouping).run()


class _Merging:
    def __init__(self, grouping: Grouping) -> None:
        self.grouping = grouping
        self.users = grouping.users

    def run(self) -> None:
        self.behind("contraction")
        self.turned()
        self.behind("convolution")
        self.rows()
        self.behind("reduce")
        self.behind("loop")
        self.siblings()

    def behind(self, kind: str) -> None:
        """Loops over the same elements that read a group's results join it."""
        for group in self.grouping.groups():
            if group.kind == kind:
                self._extend(group, lambda g: g.after, self._fits_behind)

    def turned(self) -> None:
        """A contraction stores its only result in the order that a transpose gives it, where rows stay whole."""
        for group in self.grouping.groups():
            if group.kind != "contraction" or len(group.stored) != 1 or not self.grouping.owner(group.stored[0]):
                continue
            (result,) = group.stored
            others = list(group.after)
            if len(others) != 1 or result.shape != group.shape or result in self.grouping.results:
                continue
            (turn, *rest) = others[0].nodes
            if rest or turn.op is not TRANSPOSE or turn.operands[0] is not result:
                continue
            if turn["permutation"][-1] == len(turn.shape) - 1:
                self.absorb(group, others[0])
                group.turned = True

    def rows(self) -> None:
        """Reductions of rows take what is computed on the same rows around them; a single row last."""
        found = []
        for group in self.grouping.groups():
            if group.kind == "reduce":
                group.space = row_space(group.nodes)
                if group.space is not None:
                    found.append((not group.space.axes, group))
        for alone, group in sorted(found, key=lambda pair: pair[0]):
            around = (lambda g: g.after) if alone else (lambda g: {**g.after, **g.before})
            self._extend(group, around, self._makes_rows)
            if group.space is not None and group.nodes:
                group.kind = "row" if is_row(group.nodes, group.stored, group.space) else "reduce"

    def _extend(
        self, group: Group, around: Callable[[Group], dict[Group, None]], fits: Callable[[Group, Group], bool]
    ) -> None:
        """Absorb neighbours that fit; what does not fit never will, but what another group blocks may."""
        refused: set[Group] = set()
        grown = bool(group.nodes)
        while grown:
            grown = False
            for other in sorted(around(group), key=lambda g: g.first):
                if not other.nodes or other in refused:
                    continue
                if not fits(group, other):
                    refused.add(other)
                elif not self._lies_between(group, other):
                    self.absorb(group, other)
                    grown = True

    # ---------------------------------------------------------------- what fits

    def _fits_behind(self, group: Group, other: Group) -> bool:
        """``other`` is a loop over the same elements that reads the group's results element by element only."""
        if group.turned or other.kind != "loop" or other.shape != group.shape or self._too_large(group, other):
            return False
        aligned = self._aligned(other)
        for node in other.nodes:
            for operand in node.operands:
                if operand in other.nodes:
                    continue
                if operand in group.nodes and self.grouping.owner(operand) is group:
                    if operand.shape != group.shape or not (node.op.elementwise and node in aligned):
                        return False
                elif operand in self.grouping.views and self.grouping.source(operand) in group.nodes:
                    return False
        return True

    def _aligned(self, group: Group) -> set[Node]:
        """The nodes of the group that are computed for exactly the element of the result that is stored."""
        found: set[Node] = set()
        for node in sorted(group.nodes, key=lambda n: -n.uid):
            inside = [u for u in self.users.get(node, ()) if u in group.nodes]
            if node.shape == group.shape and all(u.op.elementwise and u in found for u in inside):
                found.add(node)
        return found

    def _makes_rows(self, group: Group, other: Group) -> bool:
        space = group.space
        assert space is not None
        if other.kind == "loop":
            of_space = other.shape in (space.shape, space.kept)
        else:
            of_space = other.kind in ("reduce", "row") and row_space(other.nodes) == space
        if not of_space or self._too_large(group, other):
            return False
        both = {**group.nodes, **other.nodes}
        views = self.grouping.views
        if any(o in views and self.grouping.source(o) in both for g in (group, other) for o in g.reads):
            return False
        return make_rows(both, self.users, {*group.stored, *other.stored}, space)

    def _too_large(self, group: Group, other: Group) -> bool:
        if group.work + other.work > MOST_WORK:
            return True
        inputs = sum(n not in group.nodes and n not in other.nodes for n in group.reads | other.reads)
        return inputs + len(group.stored) + len(other.stored) > MOST_BUFFERS

    # ---------------------------------------------------------------- third groups

    def _lies_between(self, group: Group, other: Group) -> bool:
        """Whether a third group lies on a path between two neighbours."""
        start, goal = (group, other) if other in group.after else (other, group)
        return self._reaches(start, goal, direct=False)

    def _reaches(self, start: Group, goal: Group, *, direct: bool) -> bool:
        """Whether ``goal`` waits for ``start``, without ``direct`` through a third group; True if unsure."""
        if not goal.before:
            return False
        seen: set[Group] = set()
        work = [g for g in start.after if direct or g is not goal]
        while work:
            group = work.pop()
            if group is goal:
                return True
            if group in seen or group.first > goal.last:
                continue
            if len(seen) == MOST_SEARCHED:
                return True
            seen.add(group)
            work.extend(group.after)
        return False

    def absorb(self, group: Group, other: Group) -> None:
        """``group`` takes the nodes of ``other``, which has none then."""
        groups_of = self.grouping.groups_of
        for node in other.nodes:
            groups_of[node] = [*(g for g in groups_of[node] if g is not other and g is not group), group]
            group.add(node)
        for neighbour in other.before:
            del neighbour.after[other]
            if neighbour is not group:
                neighbour.after[group] = group.before[neighbour] = None
        for neighbour in other.after:
            del neighbour.before[other]
            if neighbour is not group:
                neighbour.before[group] = group.after[neighbour] = None
        group.reads = {n: None for n in (*group.reads, *other.reads) if n not in group.nodes}
        group.stored = [n for n in (*group.stored, *other.stored) if self.grouping.is_stored(n)]
        other.nodes, other.before, other.after = {}, {}, {}

    # ---------------------------------------------------------------- siblings

    def siblings(self) -> None:
        """Merge loops over the same elements (and reductions of the same axes) that read a common array."""
        by_place: dict[object, list[Group]] = {}
        for group in self.grouping.groups():
            for key in self._keys(group):
                others = by_place.setdefault(key, [])
                other = next((g for g in others[-MOST_SIBLINGS:] if self._may_stand_beside(g, group)), None)
                if other is not None:
                    if "row" in (other.kind, group.kind):
                        other.kind, other.space = "row", other.space or group.space
                    self.absorb(other, group)
                    break
                others.append(group)

    def _may_stand_beside(self, group: Group, other: Group) -> bool:
        return (
            group is not other
            and bool(group.nodes)
            and not self._too_large(group, other)
            and not self._reaches(group, other, direct=True)
            and not self._reaches(other, group, direct=True)
        )

    def _keys(self, group: Group) -> Iterator[object]:
        """Groups that have a key in common may stand side by side in one loop nest."""
        if group.kind == "loop":
            if group.shape == ():
                yield "scalars", group.device
            for node in group.reads:
                if node.shape == group.shape and group.shape != ():
                    yield ("loop", node)
        elif group.kind in ("reduce", "row"):
            heart = group.heart
            assert heart is not None
            operand = heart.operands[0]
            for node in group.reads:
                if node.shape == operand.shape:
                    yield ("reduce", heart["dimensions"], operand.shape, node)
