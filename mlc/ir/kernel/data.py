"""The data of the kernel language: immutable loops and instructions over scalars and vectors in SSA form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

from mlc.ir.types import DType

from .index import Index, IndexVariable


class VectorType(NamedTuple):
    """``lanes`` elements of ``dtype``; one lane is a scalar. Prints as ``f32x16`` and ``f32``."""

    dtype: DType
    lanes: int = 1

    def __repr__(self) -> str:
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
    """What loads and stores address: a buffer parameter, or scratch of the running thread (``access`` is scratch).

    ``strides`` count elements; a scratch has ints only. ``noalias`` promises that no other parameter overlaps it.
    """

    id: int
    name: str
    dtype: DType
    shape: tuple[Index, ...]
    strides: tuple[Index, ...]
    access: str
    noalias: bool = False

    @property
    def is_scratch(self) -> bool:
        return self.access == "scratch"

    @property
    def static_size(self) -> int:
        """Elements of a scratch."""
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
    scatter only, and a mask only where not all lanes are on.
    """

    op: str
    result: Value | IndexVariable | None = None
    operands: tuple[Value, ...] = ()
    indices: tuple[Index, ...] = ()
    attribute: Attribute = None
    memory: Memory | None = None

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


Statement = Instruction | Loop


@dataclass(frozen=True)
class Kernel:
    """A named function over buffers: one parallel loop nest, each iteration independent of all others.

    Loop ``d`` of the nest runs ``indices[d]`` over ``0 .. ceil(extents[d] / grains[d]) - 1``; the last varies fastest.
    """

    name: str
    sizes: int
    buffers: tuple[Memory, ...]
    scratches: tuple[Memory, ...]
    indices: tuple[IndexVariable, ...]
    extents: tuple[Index, ...]
    grains: tuple[int, ...]
    body: tuple[Statement, ...]
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
        if isinstance(statement, Loop):
            yield from walk(statement.body)


def largest_id(kernel: Kernel) -> int:
    """The largest id of a value or index variable in the kernel; new ones are numbered from there."""
    most = max((v.id for v in kernel.indices), default=0)
    for s in walk(kernel.body):
        if isinstance(s, Loop):
            most = max(most, s.index.id, *(v.id for v in s.arguments + s.results), 0)
        elif s.result is not None:
            most = max(most, s.result.id)
    return most


def _round_up(nbytes: int) -> int:
    return -(-nbytes // 64) * 64
