"""Which steps must wait for those before them: conflicts in memory since the last barrier."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence

from mlc.ir.plan import BufferRef

Access = tuple[BufferRef, str, int]
"""A buffer, whether it is touched by ``read``, ``write`` or ``readwrite``, and how many bytes of it."""


class Hazards:
    """What serial and parallel steps have read and written since the last barrier.

    Serial steps run one after another on worker 0 and never wait for each other. ``shared`` maps an input to the output
    whose memory it lives in.
    """

    def __init__(self, shared: Mapping[int, int]) -> None:
        self.shared = shared
        self._forget()

    def touch(self, accesses: Sequence[Access], *, serial: bool) -> bool:
        """Note one step's accesses; True where it must wait for those before it."""
        reads = [self._place(ref, nbytes) for ref, access, nbytes in accesses if access != "write"]
        writes = [self._place(ref, nbytes) for ref, access, nbytes in accesses if access != "read"]
        conflict = self.parallel.conflict(reads, writes) or (not serial and self.serial.conflict(reads, writes))
        if conflict:
            self._forget()
        (self.serial if serial else self.parallel).note(reads, writes)
        return conflict

    def meet(self) -> None:
        """Note that all workers meet here: nothing before has to be waited for."""
        self._forget()

    def join(self, other: Hazards) -> None:
        """Note what the steps of ``other`` touched since its last barrier: some way led through them."""
        self.serial.join(other.serial)
        self.parallel.join(other.parallel)

    def _forget(self) -> None:
        self.serial = _Steps()
        self.parallel = _Steps()

    def _place(self, ref: BufferRef, nbytes: int) -> _Place:
        if ref.space == "arena":
            return "arena", ref.index, ref.offset, ref.offset + nbytes
        if ref.space == "input" and ref.index in self.shared:
            return "output", self.shared[ref.index], 0, nbytes
        return ref.space, ref.index, 0, nbytes


_Place = tuple[str, int, int, int]  # space, index, first byte, byte behind the last


class _Steps:
    """What steps of one kind have touched."""

    def __init__(self) -> None:
        self.reads: dict[tuple[str, int], _Ranges] = {}
        self.writes: dict[tuple[str, int], _Ranges] = {}

    def note(self, reads: Sequence[_Place], writes: Sequence[_Place]) -> None:
        for places, known in ((reads, self.reads), (writes, self.writes)):
            for space, index, begin, end in places:
                known.setdefault((space, index), _Ranges()).add(begin, end)

    def join(self, other: _Steps) -> None:
        for mine, theirs in ((self.reads, other.reads), (self.writes, other.writes)):
            for place, ranges in theirs.items():
                for begin, end in zip(ranges.begins, ranges.ends, strict=True):
                    mine.setdefault(place, _Ranges()).add(begin, end)

    def conflict(self, reads: Sequence[_Place], writes: Sequence[_Place]) -> bool:
        """Whether a step with these accesses may not overlap in time with the steps noted here."""
        return _meet(reads, self.writes) or _meet(writes, self.writes) or _meet(writes, self.reads)


def _meet(places: Sequence[_Place], known: Mapping[tuple[str, int], _Ranges]) -> bool:
    return any(
        (space, index) in known and known[space, index].overlaps(begin, end) for space, index, begin, end in places
    )


class _Ranges:
    """A set of bytes as sorted ranges that do not touch."""

    def __init__(self) -> None:
        self.begins: list[int] = []
        self.ends: list[int] = []

    def add(self, begin: int, end: int) -> None:
        if begin == end:
            return
        first, behind = bisect_left(self.ends, begin), bisect_right(self.begins, end)
        if first < behind:
            begin, end = min(begin, self.begins[first]), max(end, self.ends[behind - 1])
        self.begins[first:behind] = [begin]
        self.ends[first:behind] = [end]

    def overlaps(self, begin: int, end: int) -> bool:
        i = bisect_right(self.ends, begin)
        return begin < end and i < len(self.begins) and self.begins[i] < end
