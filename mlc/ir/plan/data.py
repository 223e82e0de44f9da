"""What a Plan is made of: steps over buffers, and the values that go in and come out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mlc.ir.dims import Size, Symbol
from mlc.ir.types import DType, TensorType

SPACES = ("input", "output", "constant", "arena")  # in the order of the binary form
COLLECTIVES = ("all_reduce", "all_gather", "reduce_scatter", "collective_broadcast")  # so are these
REDUCTIONS = ("add", "multiply", "maximum", "minimum", "and", "or", "xor")
COLLECTIVE_SLOTS = 64  # collectives that may be in flight at the same time


@dataclass(frozen=True, slots=True)
class BufferRef:
    """A place in memory: buffer ``index`` of ``space`` and a byte offset in it. Each device has an arena."""

    space: str
    index: int
    offset: int = 0

    def __str__(self) -> str:
        name = self.space if self.space == "arena" and not self.index else f"{self.space}{self.index}"
        return f"{name}+{self.offset}" if self.offset or self.space == "arena" else name


@dataclass(frozen=True, slots=True)
class Launch:
    """Run kernel number ``kernel`` of the Plan on ``operands`` with run-time ``sizes``.

    The number of tasks is the product over ``tasks`` (extent, grain) of ceil(extent / grain). All workers meet before a
    step with ``barrier``: it reads or overwrites what another step since the last barrier touched. A ``serial`` step
    runs on worker 0 alone. ``label`` is the user's scope or location, for profiles and errors.

    ``device`` is where it runs: 0 is the host, i is ``Plan.devices[i - 1]``. There the tasks are the blocks of the
    grid, each of ``threads`` threads with ``shared_bytes`` of dynamic shared memory; all operands are in that device's
    memory, and worker 0 puts the launch on the device's stream (the step is serial), where steps follow one another.
    """

    kernel: int
    operands: tuple[BufferRef, ...]
    sizes: tuple[Size, ...] = ()
    tasks: tuple[tuple[Size, int], ...] = ()
    barrier: bool = False
    serial: bool = False
    label: str = ""
    device: int = 0
    threads: int = 0
    shared_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Copy:
    """Copy ``nbytes`` bytes; ``source`` and ``destination`` must not overlap.

    Workers share it, unless it is ``serial``: a copy from or to a device's memory is, worker 0 puts it on the stream.
    """

    destination: BufferRef
    source: BufferRef
    nbytes: Size
    barrier: bool = False
    label: str = ""
    serial: bool = False


@dataclass(frozen=True, slots=True)
class Loop:
    """Do the steps of ``body`` as long as the bool at ``predicate`` is true, which is read before each trip.

    All workers meet before each reading, so that the first steps of the body and those behind the loop need no barrier.
    """

    predicate: BufferRef
    body: tuple[Step, ...]
    label: str = ""


@dataclass(frozen=True, slots=True)
class Branch:
    """Do the steps of the branch that the i32 at ``index`` numbers, of the last one for any other number.

    All workers meet before the reading.
    """

    index: BufferRef
    branches: tuple[tuple[Step, ...], ...]
    label: str = ""


@dataclass(frozen=True, slots=True)
class CollectiveStart:
    """Start collective ``kind`` among the ranks of each of ``groups``, in ``slot``, which is free.

    ``count`` is in elements of ``dtype``: of all of it for all_reduce and collective_broadcast, of one rank's block for
    all_gather (source) and reduce_scatter (destination). ``source`` and ``destination`` are the same place or do not
    overlap, and nobody writes the one or touches the other until the slot is done. Worker 0 does this step alone.
    ``groups`` hold each rank of the world once and are of one size; ``root`` is a position in a group.
    """

    kind: str
    slot: int
    source: BufferRef
    destination: BufferRef
    count: Size
    dtype: DType
    groups: tuple[tuple[int, ...], ...]
    reduction: str = "add"
    root: int = 0
    barrier: bool = False
    label: str = ""


@dataclass(frozen=True, slots=True)
class CollectiveDone:
    """Wait until the collective in ``slot`` is done; the slot is free then. Worker 0 does this step alone."""

    slot: int
    barrier: bool = False
    label: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """Give the collectives in flight the chance to move on. Worker 0 does this step, and waits for nothing."""

    label: str = ""


Step = Launch | Copy | Loop | Branch | CollectiveStart | CollectiveDone | Progress


def parts_of(step: Step) -> tuple[tuple[Step, ...], ...]:
    """The lists of steps inside of a step."""
    if isinstance(step, Loop):
        return (step.body,)
    return step.branches if isinstance(step, Branch) else ()


def walk_steps(steps: Sequence[Step]) -> Iterator[Step]:
    """Every step and those inside of it, in the order of the binary form and of profiles."""
    work = list(reversed(steps))
    while work:
        step = work.pop()
        yield step
        for part in reversed(parts_of(step)):
            work.extend(reversed(part))


@dataclass(frozen=True, slots=True)
class PlanInput:
    """An input; ``donated_to`` is the output that takes over its memory (same size in bytes), or None.

    Its memory, like that of outputs and constants, is the device's whose number is ``device``, 0 for the host.
    """

    name: str
    type: TensorType
    donated_to: int | None = None
    device: int = 0


@dataclass(frozen=True, slots=True)
class PlanOutput:
    name: str
    type: TensorType
    device: int = 0


@dataclass(frozen=True, slots=True)
class PlanConstant:
    """A constant of static type; its position in the Plan is its index."""

    name: str
    type: TensorType
    device: int = 0


@dataclass(frozen=True, slots=True)
class PlanDevice:
    """A device beside the host: what the program calls it, the target of its kernels, the bytes of its own arena."""

    name: str
    target: str
    arena_bytes: int = 0


Value = PlanInput | PlanOutput | PlanConstant


@dataclass(frozen=True, slots=True)
class Plan:
    """A compiled function as data. ``arena_bytes`` hold its temporaries, ``scratch_bytes`` are each thread's own.

    ``kernels`` are symbol names; every symbol is a bare dimension of some input, which binds its value at a call.
    ``devices`` are those beside the host, numbered from 1.
    """

    name: str
    symbols: tuple[Symbol, ...]
    inputs: tuple[PlanInput, ...]
    outputs: tuple[PlanOutput, ...]
    constants: tuple[PlanConstant, ...]
    arena_bytes: int
    scratch_bytes: int
    kernels: tuple[str, ...]
    steps: tuple[Step, ...]
    devices: tuple[PlanDevice, ...] = ()

    def __str__(self) -> str:
        from .printer import print_plan

        return print_plan(self)


def device_of(plan: Plan, place: BufferRef) -> int:
    """The number of the device whose memory a place is in, 0 for the host."""
    if place.space == "arena":
        return place.index
    spaces: dict[str, Sequence[Value]] = {"input": plan.inputs, "output": plan.outputs, "constant": plan.constants}
    return spaces[place.space][place.index].device


def byte_size(tensor: TensorType) -> Size:
    """Bytes that a value of type ``tensor`` takes."""
    return tensor.size * tensor.dtype.itemsize
