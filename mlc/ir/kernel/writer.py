"""Writes statements: one method an operation, `with` blocks for loops, types checked as it goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from mlc.errors import VerifyError
from mlc.ir.types import BOOL, I64, DType

from ..bits import bits_of
from .data import Attribute, Instruction, Loop, Memory, Role, Statement, Value, VectorType, While
from .index import Index, IndexLike, IndexVariable
from .machine import check_machine_op
from .ops import result_type

Number = float | int | bool | np.generic


@dataclass
class LoopScope:
    """An open (then closed) loop: ``index``, the ``carried`` values of this iteration and, once closed, ``results``."""

    index: Index
    carried: tuple[Value, ...]
    results: tuple[Value, ...]
    yields: tuple[Value, ...] | None = None
    test: tuple[Statement, ...] = ()
    condition: Value | None = None


class Writer:
    """Appends statements to the innermost open block; values are numbered from ``first_id`` on.

    Every mistake (types, lanes, a missing yield) raises VerifyError naming the constraint.
    """

    def __init__(self, first_id: int = 0) -> None:
        self._next_id = first_id
        self._blocks: list[list[Statement]] = []
        self._loops: list[LoopScope] = []

    # Blocks and loops

    def open_block(self) -> None:
        """Statements go to a new block until ``close_block`` gives it."""
        self._blocks.append([])

    def close_block(self) -> tuple[Statement, ...]:
        return tuple(self._blocks.pop())

    @contextmanager
    def loop(
        self, lower: IndexLike, upper: IndexLike, step: int = 1, carried: Sequence[Value] = (), unroll: int | str = 1
    ) -> Iterator[LoopScope]:
        """A serial loop; ``unroll`` is a number of copies or "full". With ``carried``, yield_ the next values."""
        need(step >= 1, f"loop: step {step} is not positive")
        need(unroll == "full" or (isinstance(unroll, int) and unroll >= 1), f"loop: unroll {unroll!r}")
        index = IndexVariable("i", self.fresh_id())
        arguments = tuple(Value(self.fresh_id(), v.type) for v in carried)
        results = tuple(Value(self.fresh_id(), v.type) for v in carried)
        scope = LoopScope(Index.of(index), arguments, results)
        self._blocks.append([])
        self._loops.append(scope)
        yield scope
        body = tuple(self._blocks.pop())
        self._loops.pop()
        yields = scope.yields or ()
        need(len(yields) == len(arguments), f"loop: yields {len(yields)} values, carries {len(arguments)}")
        for y, a in zip(yields, arguments, strict=True):
            need(y.type == a.type, f"loop: yields {y.type} for a carried {a.type}")
        copies = 0 if unroll == "full" else int(unroll)
        bounds = Index.of(lower), Index.of(upper), step
        self.emit(Loop(index, *bounds, tuple(carried), arguments, body, yields, results, copies))

    @contextmanager
    def while_(self, *carried: Value) -> Iterator[LoopScope]:
        """A loop of as many iterations as its ``condition`` holds, which ends its test; then yield_ the next values."""
        arguments = tuple(Value(self.fresh_id(), v.type) for v in carried)
        results = tuple(Value(self.fresh_id(), v.type) for v in carried)
        scope = LoopScope(Index.of(0), arguments, results)
        self._blocks.append([])
        self._loops.append(scope)
        yield scope
        body = tuple(self._blocks.pop())
        self._loops.pop()
        if scope.condition is None:
            raise VerifyError("while: has no condition")
        yields = scope.yields or ()
        need([y.type for y in yields] == [a.type for a in arguments], f"while: yields {yields} for {arguments}")
        self.emit(While(tuple(carried), arguments, scope.test, scope.condition, body, yields, results))

    def condition(self, value: Value) -> None:
        """Ends the test of the innermost open while: its body follows, and runs if ``value`` is true."""
        need(bool(self._loops) and self._loops[-1].condition is None, "condition: outside of the test of a while")
        need(value.type == VectorType(BOOL), f"condition: {value.type} is no bool")
        self._loops[-1].test, self._loops[-1].condition = tuple(self._blocks.pop()), value
        self._blocks.append([])

    @contextmanager
    def role(self, name: str, index: IndexLike, first: int, last: int, registers: int = 0) -> Iterator[None]:
        """What only threads ``first .. last - 1`` along the block axis ``index`` do."""
        axis = Index.of(index)
        need(len(axis.variables) == 1 and axis.terms[0][1] == 1, f"role {name}: {axis} is no block axis")
        self._blocks.append([])
        yield
        body = tuple(self._blocks.pop())
        self.emit(Role(name, next(iter(axis.variables)), first, last, body, registers))

    def machine(
        self,
        op: str,
        *operands: Value,
        to: tuple[Memory, Sequence[IndexLike]] | None = None,
        source: tuple[Memory, Sequence[IndexLike]] | None = None,
        attribute: Attribute = None,
        indices: Sequence[IndexLike] = (),
        result: VectorType | None = None,
    ) -> Value | None:
        """An operation of blocks of threads, by name; ``to`` is the memory that it is about, with its address."""
        value = None if result is None else Value(self.fresh_id(), result)
        at = tuple(map(Index.of, indices if to is None else to[1]))
        origin = () if source is None else tuple(map(Index.of, source[1]))
        memories = None if to is None else to[0], None if source is None else source[0]
        n = Instruction(op, value, operands, at, attribute, memories[0], memories[1], origin)
        check_machine_op(n)
        self.emit(n)
        return value

    def yield_(self, *values: Value) -> None:
        """The values that the innermost open loop carries into its next iteration; ends the loop's body."""
        need(bool(self._loops), "yield: outside of a loop")
        need(self._loops[-1].yields is None, "yield: the loop has yielded already")
        self._loops[-1].yields = values

    # Memory access

    def load(self, memory: Memory, index: Sequence[IndexLike], lanes: int = 1, mask: Value | None = None) -> Value:
        """``lanes`` elements along the last axis from ``index`` on; lanes off in ``mask`` are 0 and not touched."""
        need(memory.access != "write", f"load: {memory.name} is write-only")
        result = Value(self.fresh_id(), VectorType(memory.dtype, lanes))
        operands = () if mask is None else (mask,)
        self.emit(Instruction("load", result, operands, address(memory, index, result.type, mask), None, memory))
        return result

    def store(
        self,
        memory: Memory,
        index: Sequence[IndexLike],
        value: Value,
        mask: Value | None = None,
        nontemporal: bool = False,
    ) -> None:
        """Writes the lanes of ``value`` along the last axis from ``index`` on; lanes off in ``mask`` stay.

        A ``nontemporal`` store goes past the caches. It takes no mask, and the writer promises that its address is a
        multiple of its own bytes.
        """
        need(memory.access != "read", f"store: {memory.name} is read-only")
        need(value.dtype == memory.dtype, f"store: {value.type} into {memory.name} of {memory.dtype}")
        operands = (value,) if mask is None else (value, mask)
        attribute = "nontemporal" if nontemporal else None
        self.emit(Instruction("store", None, operands, address(memory, index, value.type, mask), attribute, memory))

    def gather(self, memory: Memory, index: Sequence[IndexLike], offsets: Value, mask: Value | None = None) -> Value:
        """Lane l is the element at ``index``, moved along the last axis by lane l of ``offsets`` (integers).

        Lanes off in ``mask`` are 0 and not touched.
        """
        need(memory.access != "write", f"gather: {memory.name} is write-only")
        result = Value(self.fresh_id(), VectorType(memory.dtype, offsets.lanes))
        at = address(memory, index, result.type, mask, offsets)
        operands = (offsets,) if mask is None else (offsets, mask)
        self.emit(Instruction("gather", result, operands, at, None, memory))
        return result

    def scatter(
        self, memory: Memory, index: Sequence[IndexLike], offsets: Value, value: Value, mask: Value | None = None
    ) -> None:
        """Writes lane l of ``value`` to ``index``, moved along the last axis by lane l of ``offsets`` (integers).

        Lanes off in ``mask`` are not written; of several lanes for one element, the last one stays.
        """
        need(memory.access != "read", f"scatter: {memory.name} is read-only")
        need(value.dtype == memory.dtype, f"scatter: {value.type} into {memory.name} of {memory.dtype}")
        at = address(memory, index, value.type, mask, offsets)
        operands = (value, offsets) if mask is None else (value, offsets, mask)
        self.emit(Instruction("scatter", None, operands, at, None, memory))

    # Values

    def constant(self, value: Number | Sequence[Number], dtype: DType, lanes: int = 1) -> Value:
        """A number in every lane, or a sequence with one number a lane."""
        if isinstance(value, (float, int, bool, np.generic)):
            return self.constant_bits(bits_of(value, dtype), dtype, lanes)
        bits = tuple(bits_of(v, dtype) for v in value)
        if lanes == 1 and len(bits) != 1:
            lanes = len(bits)
        need(len(bits) == lanes, f"constant: {len(bits)} numbers for {lanes} lanes")
        return self.value("constant", (), bits, VectorType(dtype, lanes))

    def constant_bits(self, bits: int, dtype: DType, lanes: int = 1) -> Value:
        """The bit pattern ``bits`` in every lane."""
        return self.value("constant", (), bits, VectorType(dtype, lanes))

    def splat(self, value: Value, lanes: int) -> Value:
        return self.value("splat", (value,), None, VectorType(value.dtype, lanes))

    def iota(self, dtype: DType, lanes: int) -> Value:
        """0, 1, 2, ..."""
        return self.value("iota", (), None, VectorType(dtype, lanes))

    def op(self, name: str, *operands: Value) -> Value:
        """An elementwise operation over operands of one type; names are StableHLO's."""
        return self.value(name, operands)

    def compare(self, direction: str, x: Value, y: Value) -> Value:
        """EQ NE LT LE GT GE, unsigned by dtype; with a NaN only NE holds."""
        return self.value("compare", (x, y), direction)

    def select(self, mask: Value, on: Value, off: Value) -> Value:
        return self.value("select", (mask, on, off))

    def convert(self, value: Value, dtype: DType) -> Value:
        """To ``dtype``: float to integer truncates and saturates, NaN becomes 0; to bool is ``!= 0``."""
        if value.dtype == dtype:
            return value
        return self.value("convert", (value,), None, VectorType(dtype, value.lanes))

    def bitcast(self, value: Value, dtype: DType) -> Value:
        """The same bits as elements of ``dtype``: as many as fill them, the first one in the lowest bits."""
        if value.dtype == dtype:
            return value
        return self.value("bitcast", (value,), None, VectorType(dtype, value.lanes * value.dtype.bits // dtype.bits))

    def reduce(self, operation: str, value: Value) -> Value:
        """Scalar over all lanes as a fixed pairwise tree: lane l with lane l + half, while more than one is left."""
        return self.value("reduce", (value,), operation)

    def dot2(self, x: Value, y: Value, total: Value) -> Value:
        """Lane i is total[i] + x[2i+1] * y[2i+1] + x[2i] * y[2i], each step rounded once: f16 and bf16 into f32.

        Machines with an instruction for it may take subnormal numbers for zeros. Also of i16 into i32, wrapping.
        """
        return self.value("dot2", (x, y, total))

    def dot4(self, x: Value, y: Value, total: Value) -> Value:
        """Lane i is total[i] plus the products of elements 4i .. 4i+3: i8 and u8 into i32, wrapping."""
        return self.value("dot4", (x, y, total))

    def shuffle(self, x: Value, y: Value, indices: Sequence[int]) -> Value:
        """Lanes picked from ``x`` (0 .. lanes-1) and ``y`` (lanes .. 2*lanes-1)."""
        return self.value("shuffle", (x, y), tuple(indices))

    def extract(self, value: Value, lane: int) -> Value:
        return self.value("extract", (value,), lane)

    def insert(self, value: Value, scalar: Value, lane: int) -> Value:
        return self.value("insert", (value, scalar), lane)

    def tail_mask(self, start: IndexLike, stop: IndexLike, lanes: int) -> Value:
        """Lane l is on iff ``start + l < stop``."""
        return self.value("tail_mask", (), None, VectorType(BOOL, lanes), (Index.of(start), Index.of(stop)))

    def index_value(self, index: IndexLike, dtype: DType = I64) -> Value:
        """An index as a value; it wraps to the width of ``dtype``."""
        return self.value("index_value", (), None, VectorType(dtype), (Index.of(index),))

    def value(
        self,
        op: str,
        operands: Sequence[Value] = (),
        attribute: Attribute = None,
        asked: VectorType | None = None,
        indices: tuple[Index, ...] = (),
    ) -> Value:
        """Any value operation by name; ``asked`` is the result type where operands do not decide it."""
        operands = tuple(operands)
        result = Value(self.fresh_id(), result_type(op, [v.type for v in operands], attribute, asked))
        self.emit(Instruction(op, result, operands, indices, attribute))
        return result

    # Index arithmetic

    def index_of(self, value: Value) -> Index:
        """An integer scalar as an index, for look-ups in tables."""
        need(value.dtype.is_integer and value.lanes == 1, f"index_of: {value.type} is no integer scalar")
        return self._define_index("index_of", (value,), ())

    def floordiv(self, index: IndexLike, k: IndexLike) -> Index:
        """Quotient rounded down; ``k`` is positive."""
        i, d = Index.of(index), Index.of(k)
        need(d.constant is None or d.constant > 0, f"floordiv: divisor {d} is not positive")
        if d.constant == 1:
            return i
        if i.constant is not None and d.constant is not None:
            return Index.of(i.constant // d.constant)
        return self._define_index("floordiv", (), (i, d))

    def mod(self, index: IndexLike, k: IndexLike) -> Index:
        """Remainder in 0 .. k-1; ``k`` is positive."""
        i, d = Index.of(index), Index.of(k)
        need(d.constant is None or d.constant > 0, f"mod: divisor {d} is not positive")
        if i.constant is not None and d.constant is not None:
            return Index.of(i.constant % d.constant)
        return Index.of(0) if d.constant == 1 else self._define_index("mod", (), (i, d))

    def min(self, x: IndexLike, y: IndexLike) -> Index:
        i, j = Index.of(x), Index.of(y)
        gap = (i - j).constant
        if gap is not None:
            return i if gap <= 0 else j
        return self._define_index("min", (), (i, j))

    def max(self, x: IndexLike, y: IndexLike) -> Index:
        i, j = Index.of(x), Index.of(y)
        gap = (i - j).constant
        if gap is not None:
            return i if gap >= 0 else j
        return self._define_index("max", (), (i, j))

    def _define_index(self, op: str, operands: tuple[Value, ...], indices: tuple[Index, ...]) -> Index:
        variable = IndexVariable("q", self.fresh_id())
        self.emit(Instruction(op, variable, operands, indices))
        return Index.of(variable)

    def emit(self, statement: Statement) -> None:
        if not self._blocks:
            name = statement.op if isinstance(statement, Instruction) else type(statement).__name__.lower()
            raise VerifyError(f"{name}: outside of the parallel loop")
        need(not self._loops or self._loops[-1].yields is None, "an operation follows yield in its loop")
        self._blocks[-1].append(statement)

    def fresh_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1


def address(
    memory: Memory,
    index: Sequence[IndexLike],
    accessed: VectorType,
    mask: Value | None,
    offsets: Value | None = None,
) -> tuple[Index, ...]:
    need(len(index) == len(memory.shape), f"{memory.name}: {len(index)} indices for rank {len(memory.shape)}")
    if offsets is not None:
        fits = offsets.dtype.is_integer and offsets.lanes == accessed.lanes and bool(memory.shape)
        need(fits, f"{memory.name}: offsets {offsets.type} for {accessed} along the last axis")
    elif accessed.lanes > 1:
        contiguous = bool(memory.strides) and memory.strides[-1].constant == 1
        need(contiguous, f"{memory.name}: {accessed.lanes} lanes along an axis whose stride is not 1")
    if mask is not None:
        fits = mask.type == VectorType(BOOL, accessed.lanes)
        need(fits, f"{memory.name}: mask {mask.type} for {accessed.lanes} lanes")
    return tuple(map(Index.of, index))


def need(condition: bool, message: str) -> None:
    if not condition:
        raise VerifyError(message)
