"""The GPUs of a Plan: their numbers, their kernels' targets, their arenas, and launches in blocks of threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mlc.errors import UnsupportedError
from mlc.ir.device import Machine
from mlc.ir.graph import Graph
from mlc.ir.kernel import Kernel
from mlc.ir.plan import BufferRef, Launch
from mlc.ir.target import AnyTarget

from .memory import Interval, assign_offsets
from .places import Value


class RefusedError(UnsupportedError):
    """A region that no schedule of its device's takes: ``place`` puts it elsewhere."""

    def __init__(self, error: UnsupportedError, region: Graph) -> None:
        super().__init__(error.message, location=error.location, hint=error.hint)
        self.region = region


class PlanDevices:
    """The GPUs that a graph names, in the machine's order: numbered from 1, as in the Plan. All others are the host."""

    def __init__(self, graph: Graph, target: AnyTarget, machine: Machine, home: str | None) -> None:
        named = {home, *(n.device for n in graph.nodes)}
        self.host = target
        self.gpus = {d.name: d.target for d in machine.devices if d.target is not None and d.name in named}
        self.numbers = {name: i + 1 for i, name in enumerate(self.gpus)}

    def number(self, device: str | None) -> int:
        return self.numbers.get(device, 0) if device is not None else 0

    def target(self, device: str | None) -> AnyTarget:
        return self.gpus.get(device, self.host) if device is not None else self.host

    def arena_bytes(self, spaces: Mapping[str | None, tuple[int, int]], number: int) -> int:
        return sum(nbytes for device, (_, nbytes) in spaces.items() if self.number(device) == number)


def lay_out_arenas(values: Sequence[Value], devices: PlanDevices) -> dict[str | None, tuple[int, int]]:
    """Offsets for the values: those of a GPU in its arena, those of others in a part of the host's, its own first."""
    spaces: dict[str | None, tuple[int, int]] = {}
    begin = 0
    for device in sorted({v.device for v in values}, key=lambda d: d or ""):
        own = [v for v in values if v.device == device]
        offsets, nbytes = assign_offsets([Interval(v.nbytes, v.first, v.last) for v in own])
        number = devices.number(device)
        at = 0 if number else begin
        for value, offset in zip(own, offsets, strict=True):
            value.ref = BufferRef("arena", number, at + offset)
        spaces[device] = at, nbytes
        begin += 0 if number else nbytes
    return spaces


def on_device(launch: Launch, kernel: Kernel, number: int) -> Launch:
    """The launch on a GPU: its last axes are the threads of a block."""
    return replace(
        launch, tasks=launch.tasks[: len(launch.tasks) - kernel.threads], serial=True, device=number,
        threads=kernel.block_threads, shared_bytes=kernel.dynamic_shared_bytes,
    )  # fmt: skip
