"""The data of the kernel language: immutable loops and instructions over scalars and vectors in SSA form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import NamedTuple

from mlc.ir.target import STATIC_SHARED_BYTES
from mlc.ir.types import DType

from .index import Index, IndexVariable

TOKEN = DType("token", "token", 0)  # what waits for an asynchronous copy or product takes


class Fragment(NamedTuple):
    """A matrix spread over ``threads`` in the way of a matrix unit; ``role`` is a, b or accumulator."""

    rows: int
    columns: int
    role: str
    threads: int = 32


class VectorType(NamedTuple):
    """``lanes`` elements of ``dtype``; one lane is a scalar. Prints as ``f32x16`` and ``f32``.

    Those of a ``fragment`` are the elements of a matrix that one thread holds: ``fragment(16 x 8, f32, accumulator)``.
    """

    dtype: DType
    lanes: int = 1
    fragment: Fragment | None = None

    @staticmethod
    def of_fragment(rows: int, columns: int, dtype: DType, role: str, threads: int = 32) -> VectorType:
        return VectorType(dtype, rows * columns // threads, Fragment(rows, columns, role, threads))

    def __repr__(self) -> str:
        if self.fragment is not None:
            rows, columns, role, threads = self.fragment
            spread = "" if threads == 32 else f", {threads}"
            return f"fragment({rows} x {columns}, {self.dtype.name}, {role}{spread})"
        return self.dtype.name if self.lanes == 1 else f"{self.dtype.name}x{self.lanes}"


class Value(NamedTuple):
    """An SSA value; its id is unique in its kernel."""

    id: int
    type: VectorType

    @property
    def dtype(self) -> DType:
        return self.type.dtype

    @property
    def lanes(self) -> int:
        return self.type.lanes


@dataclass(frozen=True, slots=True)
class Memory:
    """What loads and stores address: a buffer parameter, or memory of the kernel's own, of which ``access`` is

    scratch: of the running thread; shared: of the threads of a block; table: constant, with its elements' bits in
    ``data``. ``strides`` count elements; what is not a buffer has ints only. ``noalias`` promises that no other
    parameter overlaps a buffer. The ``space`` of a buffer is global, const (read through the constant cache) or
    tensor_map (a descriptor of it, for copies of a ``box``). Rows of ``swizzle`` bytes have their 16-byte chunks
    permuted by the row's number, so that neither rows nor columns meet in a bank.
    """

    id: int
    name: str
    dtype: DType
    shape: tuple[Index, ...]
    strides: tuple[Index, ...]
    access: str
    noalias: bool = False
    space: str = "global"
    swizzle: int = 0
    box: tuple[int, ...] = ()
    data: tuple[int, ...] = ()

    def offset(self, indices: tuple[Index, ...]) -> Index:
        """How many elements behind the first one that at ``indices`` is."""
        total = Index.of(0)
        for index, stride in zip(indices, self.strides, strict=True):
            total = total + index * stride
        return total

    @property
    def static_size(self) -> int:
        """Elements of what is no buffer."""
        total = 1
        for n in self.shape:
            assert n.constant is not None
            total *= n.constant
        return total


Attribute = None | str | int | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Instruction:
    """One operation. ``operands`` are values, ``indices`` index expressions (an address where there is a ``memory``).

    ``attribute`` is the direction of a compare, the operation of a reduce, the bits of a constant (one int for all
    lanes or a tuple), the lanes of shuffle, extract and insert, or "nontemporal" on a store.
    What reads memory has the operands (offsets, mask), what writes it (value, offsets, mask): offsets for gather and
    scatter only, and a mask only where not all lanes are on. A copy goes from ``source`` to ``memory``.
    """

    op: str
    result: Value | IndexVariable | None = None
    operands: tuple[Value, ...] = ()
    indices: tuple[Index, ...] = ()
    attribute: Attribute = None
    memory: Memory | None = None
    source: Memory | None = None
    source_indices: tuple[Index, ...] = ()

    @property
    def value(self) -> Value:
        assert isinstance(self.result, Value), self.op
        return self.result

    @property
    def reads_memory(self) -> bool:
        return self.op in ("load", "gather")

    @property
    def writes_memory(self) -> bool:
        return self.op in ("store", "scatter")

    @property
    def has_effect(self) -> bool:
        """Whether it stays where it is, in order with others of its kind, even if nothing uses its result."""
        return self.writes_memory or self.op in _EFFECTS

    @property
    def accessed(self) -> VectorType:
        """The type of what is read or written."""
        return self.operands[0].type if self.writes_memory else self.value.type

    @property
    def offsets(self) -> Value | None:
        """Of a gather or scatter, one a lane."""
        return self.operands[self.writes_memory] if self.op in ("gather", "scatter") else None

    @property
    def mask(self) -> Value | None:
        """Of what reads or writes memory."""
        others = self.writes_memory + (self.op in ("gather", "scatter"))
        return self.operands[others] if len(self.operands) > others else None


@dataclass(frozen=True, slots=True)
class Loop:
    """``index`` runs from ``lower`` up to (not including) ``upper`` by ``step``, in order.

    ``arguments`` hold ``initial`` in the first iteration and ``yields`` of the previous one after; ``results`` hold
    what the last iteration yielded, or ``initial``. ``unroll`` asks for that many copies of the body, 0 for all.
    """

    index: IndexVariable
    lower: Index
    upper: Index
    step: int
    initial: tuple[Value, ...]
    arguments: tuple[Value, ...]
    body: tuple[Statement, ...]
    yields: tuple[Value, ...]
    results: tuple[Value, ...]
    unroll: int = 1


@dataclass(frozen=True, slots=True)
class While:
    """Repeats ``body`` while ``condition``, which ``test`` computes, holds.

    ``arguments`` are seen by test and body: ``initial`` at first, then what the body yielded; ``results`` are what
    they were when the condition failed.
    """

    initial: tuple[Value, ...]
    arguments: tuple[Value, ...]
    test: tuple[Statement, ...]
    condition: Value
    body: tuple[Statement, ...]
    yields: tuple[Value, ...]
    results: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Role:
    """What only threads ``first .. last - 1`` along a block axis do: some warps of a kernel, or one thread.

    ``registers`` is what each of them is given, 0 for as many as the others.
    """

    name: str
    index: IndexVariable
    first: int
    last: int
    body: tuple[Statement, ...]
    registers: int = 0


Statement = Instruction | Loop | While | Role


@dataclass(frozen=True)
class Kernel:
    """A named function over buffers: one parallel loop nest, each iteration independent of all others.

    Loop ``d`` of the nest runs ``indices[d]`` over ``0 .. ceil(extents[d] / grains[d]) - 1``; the last varies fastest.
    The last ``threads`` loops count the threads of a block, which share memory and meet at barriers; the others blocks.
    """

    name: str
    sizes: int
    buffers: tuple[Memory, ...]
    scratches: tuple[Memory, ...]
    indices: tuple[IndexVariable, ...]
    extents: tuple[Index, ...]
    grains: tuple[int, ...]
    body: tuple[Statement, ...]
    shared: tuple[Memory, ...] = ()
    tables: tuple[Memory, ...] = ()
    threads: int = 0
    _texts: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def scratch_offsets(self) -> tuple[int, ...]:
        """Byte offset of each scratch in the thread's scratch memory; each is a multiple of 64."""
        offsets, end = [], 0
        for s in self.scratches:
            offsets.append(end)
            end += _round_up(s.static_size * s.dtype.itemsize)
        return tuple(offsets)

    @property
    def scratch_bytes(self) -> int:
        """Bytes of scratch memory that one thread needs to run this kernel."""
        return sum(_round_up(s.static_size * s.dtype.itemsize) for s in self.scratches)

    @cached_property
    def shared_offsets(self) -> tuple[int, ...]:
        """Byte offset of each shared memory in that of the block: where the pattern of a swizzle begins."""
        offsets, end = [], 0
        for m in self.shared:
            step = max(128, 8 * m.swizzle)
            offsets.append(-(-end // step) * step)
            end = offsets[-1] + m.static_size * m.dtype.itemsize
        return tuple(offsets)

    @property
    def block_threads(self) -> int:
        """The threads of a block; 1 for a kernel that has no blocks."""
        counts = [e.constant for e in self.extents[len(self.extents) - self.threads :]]
        assert None not in counts, "the extents of a block are numbers"
        return prod(n for n in counts if n is not None)

    @property
    def shared_bytes(self) -> int:
        """Bytes of shared memory that a block needs to run this kernel."""
        if not self.shared:
            return 0
        return self.shared_offsets[-1] + self.shared[-1].static_size * self.shared[-1].dtype.itemsize

    @property
    def dynamic_shared_bytes(self) -> int:
        """Bytes of shared memory that a launch gives to a block: 0 where they are static."""
        return self.shared_bytes if self.shared_bytes > STATIC_SHARED_BYTES else 0

    @property
    def memories(self) -> tuple[Memory, ...]:
        """Buffers, then what is the kernel's own."""
        return self.buffers + self.scratches + self.shared + self.tables

    def canonical_text(self) -> str:
        """The text with kernel and memory names numbered: kernels with equal canonical text are compiled once."""
        from .printer import print_kernel

        if "canonical" not in self._texts:
            self._texts["canonical"] = print_kernel(self, canonical=True)
        return self._texts["canonical"]

    def with_body(self, body: tuple[Statement, ...]) -> Kernel:
        return replace(self, body=body, _texts={})

    def __str__(self) -> str:
        from .printer import print_kernel

        return print_kernel(self)


def walk(body: tuple[Statement, ...]) -> Iterator[Statement]:
    """Every statement of ``body`` in textual order, a loop before its body."""
    for statement in body:
        yield statement
        for block in blocks(statement):
            yield from walk(block)


def blocks(statement: Statement) -> tuple[tuple[Statement, ...], ...]:
    """The statements inside of a statement."""
    if isinstance(statement, Instruction):
        return ()
    return (statement.test, statement.body) if isinstance(statement, While) else (statement.body,)


def defined(statement: Statement) -> tuple[Value | IndexVariable, ...]:
    """What a statement defines for those that follow it."""
    if isinstance(statement, Instruction):
        return () if statement.result is None else (statement.result,)
    return () if isinstance(statement, Role) else statement.results


def largest_id(kernel: Kernel) -> int:
    """The largest id of a value or index variable in the kernel; new ones are numbered from there."""
    most = max((v.id for v in kernel.indices), default=0)
    left = [kernel.body]
    while left:
        for s in left.pop():
            if isinstance(s, Instruction):
                if s.result is not None and s.result.id > most:
                    most = s.result.id
                continue
            inside = s.arguments if isinstance(s, Loop | While) else ()
            index = (s.index,) if isinstance(s, Loop) else ()
            most = max([most, *(v.id for v in (*inside, *index, *defined(s)))])
            left += blocks(s)
    return most


_EFFECTS = frozenset((  # operations of a block: their order is that of the text
    "barrier", "warp_shuffle", "async_copy", "commit", "wait", "fence_async", "barrier_init", "barrier_expect",
    "barrier_arrive", "barrier_wait", "load_matrix", "store_matrix", "mma", "mma_fence", "mma_async", "mma_commit",
    "mma_wait",
))  # fmt: skip


def _round_up(nbytes: int) -> int:
    return -(-nbytes // 64) * 64
