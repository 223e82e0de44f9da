"""Values of several threads to one: by shuffles inside of a warp, through shared memory between warps, in one order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlc.ir.kernel import Index, KernelBuilder, Memory, Value

Combine = Callable[[Value, Value], Value]


def from_thread(b: KernelBuilder, value: Value, kind: str, number: int) -> Value:
    """The value of another thread of the warp: ``number`` up, down or (xor) across, or the one of that index."""
    moved = b.machine("warp_shuffle", value, attribute=kind, indices=(number,), result=value.type)
    assert moved is not None
    return moved


def across_warp(b: KernelBuilder, value: Value, threads: int, combine: Combine) -> Value:
    """The values of ``threads`` neighbours (a power of two, at most a warp), combined in a tree; all of them get it."""
    distance = threads // 2
    while distance:
        value = combine(value, from_thread(b, value, "xor", distance))
        distance //= 2
    return value


def across_row(
    b: KernelBuilder, values: Sequence[Value], combines: Sequence[Combine], thread: Index, threads: int,
    rooms: Sequence[Memory | None], warp: int,
) -> list[Value]:  # fmt: skip
    """The values of a row of ``threads`` neighbours, of which this is number ``thread``; all of them get them.

    Rows longer than a warp are a block, and meet in ``rooms``, which have an element a warp.
    """
    found = [across_warp(b, v, min(threads, warp), c) for v, c in zip(values, combines, strict=True)]
    if threads <= warp or not found:
        return found
    with b.loop(b.mod(thread, warp), 1):
        for room, value in zip(rooms, found, strict=True):
            assert room is not None
            b.store(room, (b.floordiv(thread, warp),), value)
    b.machine("barrier")
    parts = range(threads // warp)
    return [tree([b.load(m, (k,)) for k in parts], c) for m, c in zip(rooms, combines, strict=True) if m is not None]


def tree(values: list[Value], combine: Combine) -> Value:
    """A power of two of values, combined in pairs of neighbours half apart."""
    while len(values) > 1:
        half = len(values) // 2
        values = [combine(values[k], values[k + half]) for k in range(half)]
    return values[0]
