"""Writes kernels: one method an operation, `with` blocks for loops, types checked as it goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from mlc.errors import VerifyError
from mlc.ir.types import BOOL, I64, DType

from .data import Attribute, Instruction, Kernel, Loop, Memory, Statement, Value, VectorType
from .index import Index, IndexLike, IndexVariable
from .literal import bits_of
from .ops import result_type

Number = float | int | bool | np.generic


@dataclass
class LoopScope:
    """An open (then closed) loop: ``index``, the ``carried`` values of this iteration and, once closed, ``results``."""

    index: Index
    carried: tuple[Value, ...]
    results: tuple[Value, ...]
    yields: tuple[Value, ...] | None = None


@dataclass
class _Parallel:
    indices: tuple[IndexVariable, ...]
    extents: tuple[Index, ...]
    grains: tuple[int, ...]
    body: tuple[Statement, ...] = field(default=())


class KernelBuilder:
    """Builds one Kernel; ``sizes`` is the number of run-time sizes, available as ``builder.sizes``.

    Every mistake (types, bounds of lanes, a missing yield) raises VerifyError naming the constraint.

    Example:
        >>> from mlc.ir.types import F32
        >>> b = KernelBuilder("double", sizes=1)
        >>> x = b.buffer("x", F32, (b.sizes[0],), access="readwrite")
        >>> with b.parallel((b.sizes[0], 16)) as (i,):
        ...     mask = b.tail_mask(i * 16, b.sizes[0], 16)
        ...     v = b.load(x, (i * 16,), lanes=16, mask=mask)
        ...     b.store(x, (i * 16,), b.op("add", v, v), mask=mask)
        >>> print(b.build(), end="")
        kernel @double sizes 1 {
          buffer %x f32[%n0] strides [1] readwrite
          parallel (%i0 = %n0 by 16) {
            %0 = tail_mask (%i0*16, %n0) : boolx16
            %1 = load %x[%i0*16] %0 : f32x16
            %2 = add %1, %1 : f32x16
            store %x[%i0*16] %2, %0
          }
        }
    """

    def __init__(self, name: str, sizes: int = 0) -> None:
        self.name = name
        self.sizes = tuple(Index.of(IndexVariable("n", k)) for k in range(sizes))
        self._buffers: list[Memory] = []
        self._scratches: list[Memory] = []
        self._next_id = 0
        self._blocks: list[list[Statement]] = []
        self._loops: list[LoopScope] = []
        self._parallel: _Parallel | None = None

    # Memory

    def buffer(
        self,
        name: str,
        dtype: DType,
        shape: Sequence[IndexLike],
        strides: Sequence[IndexLike] | None = None,
        access: str = "read",
        noalias: bool = False,
    ) -> Memory:
        """The next buffer parameter; strides count elements and are row-major unless given."""
        _need(access in ("read", "write", "readwrite"), f"buffer {name}: access {access!r}")
        sizes = tuple(map(Index.of, shape))
        steps = _row_major(sizes) if strides is None else tuple(map(Index.of, strides))
        _need(len(steps) == len(sizes), f"buffer {name}: {len(steps)} strides for rank {len(sizes)}")
        known = {v for n in self.sizes for v in n.variables}
        for n in sizes + steps:
            _need(n.variables <= known, f"buffer {name}: {n} depends on more than the sizes")
        memory = Memory(self._memory_id(), name, dtype, sizes, steps, access, noalias)
        self._buffers.append(memory)
        return memory

    def scratch(self, name: str, dtype: DType, shape: Sequence[int]) -> Memory:
        """Memory of the running thread, 64-byte aligned, undefined at the start of each parallel iteration."""
        sizes = tuple(map(Index.of, shape))
        memory = Memory(self._memory_id(), name, dtype, sizes, _row_major(sizes), "scratch", True)
        self._scratches.append(memory)
        return memory

    # Loops

    @contextmanager
    def parallel(self, *nest: tuple[IndexLike, int]) -> Iterator[tuple[Index, ...]]:
        """The one outermost loop: index ``d`` runs over ``0 .. ceil(extent / grain) - 1`` of its (extent, grain)."""
        _need(self._parallel is None, "parallel: a kernel has exactly one")
        for extent, grain in nest:
            _need(grain >= 1, f"parallel: grain {grain} of extent {extent}")
        indices = tuple(IndexVariable("i", self._id()) for _ in nest)
        self._parallel = _Parallel(indices, tuple(Index.of(e) for e, _ in nest), tuple(g for _, g in nest))
        self._blocks.append([])
        yield tuple(map(Index.of, indices))
        self._parallel.body = tuple(self._blocks.pop())

    @contextmanager
    def loop(
        self, lower: IndexLike, upper: IndexLike, step: int = 1, carried: Sequence[Value] = (), unroll: int | str = 1
    ) -> Iterator[LoopScope]:
        """A serial loop; ``unroll`` is a number of copies or "full". With ``carried``, yield_ the next values."""
        _need(step >= 1, f"loop: step {step} is not positive")
        _need(unroll == "full" or (isinstance(unroll, int) and unroll >= 1), f"loop: unroll {unroll!r}")
        index = IndexVariable("i", self._id())
        arguments = tuple(Value(self._id(), v.type) for v in carried)
        results = tuple(Value(self._id(), v.type) for v in carried)
        scope = LoopScope(Index.of(index), arguments, results)
        self._blocks.append([])
        self._loops.append(scope)
        yield scope
        body = tuple(self._blocks.pop())
        self._loops.pop()
        yields = scope.yields or ()
        _need(len(yields) == len(arguments), f"loop: yields {len(yields)} values, carries {len(arguments)}")
        for y, a in zip(yields, arguments, strict=True):
            _need(y.type == a.type, f"loop: yields {y.type} for a carried {a.type}")
        copies = 0 if unroll == "full" else int(unroll)
        bounds = Index.of(lower), Index.of(upper), step
        self._emit(Loop(index, *bounds, tuple(carried), arguments, body, yields, results, copies))

    def yield_(self, *values: Value) -> None:
        """The values that the innermost open loop carries into its next iteration; ends the loop's body."""
        _need(bool(self._loops), "yield: outside of a loop")
        _need(self._loops[-1].yields is None, "yield: the loop has yielded already")
        self._loops[-1].yields = values

    # Memory access

    def load(self, memory: Memory, index: Sequence[IndexLike], lanes: int = 1, mask: Value | None = None) -> Value:
        """``lanes`` elements along the last axis from ``index`` on; lanes off in ``mask`` are 0 and not touched."""
        _need(memory.access != "write", f"load: {memory.name} is write-only")
        result = Value(self._id(), VectorType(memory.dtype, lanes))
        operands = () if mask is None else (mask,)
        self._emit(Instruction("load", result, operands, _address(memory, index, result.type, mask), None, memory))
        return result

    def store(
        self,
        memory: Memory,
        index: Sequence[IndexLike],
        value: Value,
        mask: Value | None = None,
        nontemporal: bool = False,
    ) -> None:
        """Writes the lanes of ``value`` along the last axis from ``index`` on; lanes off in ``mask`` stay."""
        _need(memory.access != "read", f"store: {memory.name} is read-only")
        _need(value.dtype == memory.dtype, f"store: {value.type} into {memory.name} of {memory.dtype}")
        operands = (value,) if mask is None else (value, mask)
        attribute = "nontemporal" if nontemporal else None
        self._emit(Instruction("store", None, operands, _address(memory, index, value.type, mask), attribute, memory))

    # Values

    def constant(self, value: Number | Sequence[Number], dtype: DType, lanes: int = 1) -> Value:
        """A number in every lane, or a sequence with one number a lane."""
        if isinstance(value, (float, int, bool, np.generic)):
            return self.constant_bits(bits_of(value, dtype), dtype, lanes)
        bits = tuple(bits_of(v, dtype) for v in value)
        if lanes == 1 and len(bits) != 1:
            lanes = len(bits)
        _need(len(bits) == lanes, f"constant: {len(bits)} numbers for {lanes} lanes")
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
        if value.dtype == dtype:
            return value
        return self.value("bitcast", (value,), None, VectorType(dtype, value.lanes))

    def reduce(self, operation: str, value: Value) -> Value:
        """Scalar over all lanes as a fixed pairwise tree: lane l with lane l + half, while more than one is left."""
        return self.value("reduce", (value,), operation)

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
        result = Value(self._id(), result_type(op, [v.type for v in operands], attribute, asked))
        self._emit(Instruction(op, result, operands, indices, attribute))
        return result

    # Index arithmetic

    def index_of(self, value: Value) -> Index:
        """An integer scalar as an index, for look-ups in tables."""
        _need(value.dtype.is_integer and value.lanes == 1, f"index_of: {value.type} is no integer scalar")
        return self._define_index("index_of", (value,), ())

    def floordiv(self, index: IndexLike, k: IndexLike) -> Index:
        """Quotient rounded down; ``k`` is positive."""
        i, d = Index.of(index), Index.of(k)
        _need(d.constant is None or d.constant > 0, f"floordiv: divisor {d} is not positive")
        if d.constant == 1:
            return i
        if i.constant is not None and d.constant is not None:
            return Index.of(i.constant // d.constant)
        return self._define_index("floordiv", (), (i, d))

    def mod(self, index: IndexLike, k: IndexLike) -> Index:
        """Remainder in 0 .. k-1; ``k`` is positive."""
        i, d = Index.of(index), Index.of(k)
        _need(d.constant is None or d.constant > 0, f"mod: divisor {d} is not positive")
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

    def build(self) -> Kernel:
        """The finished kernel; raises VerifyError where it breaks a constraint of the language."""
        from .verify import verify_kernel

        if self._parallel is None or self._blocks:
            raise VerifyError(f"kernel {self.name}: needs exactly one parallel loop, closed")
        p = self._parallel
        buffers, scratches = tuple(self._buffers), tuple(self._scratches)
        kernel = Kernel(self.name, len(self.sizes), buffers, scratches, p.indices, p.extents, p.grains, p.body)
        verify_kernel(kernel)
        return kernel

    def _define_index(self, op: str, operands: tuple[Value, ...], indices: tuple[Index, ...]) -> Index:
        variable = IndexVariable("q", self._id())
        self._emit(Instruction(op, variable, operands, indices))
        return Index.of(variable)

    def _emit(self, statement: Statement) -> None:
        if not self._blocks:
            name = statement.op if isinstance(statement, Instruction) else "loop"
            raise VerifyError(f"{name}: outside of the parallel loop")
        _need(not self._loops or self._loops[-1].yields is None, "an operation follows yield in its loop")
        self._blocks[-1].append(statement)

    def _id(self) -> int:
        self._next_id += 1
        return self._next_id - 1

    def _memory_id(self) -> int:
        return len(self._buffers) + len(self._scratches)


def _address(memory: Memory, index: Sequence[IndexLike], accessed: VectorType, mask: Value | None) -> tuple[Index, ...]:
    _need(len(index) == len(memory.shape), f"{memory.name}: {len(index)} indices for rank {len(memory.shape)}")
    if accessed.lanes > 1:
        contiguous = bool(memory.strides) and memory.strides[-1].constant == 1
        _need(contiguous, f"{memory.name}: {accessed.lanes} lanes along an axis whose stride is not 1")
    if mask is not None:
        fits = mask.type == VectorType(BOOL, accessed.lanes)
        _need(fits, f"{memory.name}: mask {mask.type} for {accessed.lanes} lanes")
    return tuple(map(Index.of, index))


def _row_major(shape: tuple[Index, ...]) -> tuple[Index, ...]:
    strides, step = [], Index.of(1)
    for n in reversed(shape):
        strides.append(step)
        step = step * n
    return tuple(reversed(strides))


def _need(condition: bool, message: str) -> None:
    if not condition:
        raise VerifyError(message)
