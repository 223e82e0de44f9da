"""Runs a kernel literally on NumPy arrays and checks every access: the oracle of schedules, passes and code."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from operator import mul

import numpy as np

from mlc.errors import VerifyError
from mlc.ir.types import BOOL, I32

from . import numeric
from .data import Instruction, Kernel, Loop, Memory, Role, Statement, Value, While
from .index import Index, IndexVariable
from .interpret_blocks import BlockInterpreter
from .machine import MACHINE_OPS
from .numeric import Array
from .ops import ELEMENTWISE


def interpret_kernel(kernel: Kernel, buffers: Sequence[Array], sizes: Sequence[int] = ()) -> None:
    """Executes ``kernel`` in place on ``buffers``, C-contiguous arrays in the order of its parameters.

    Raises VerifyError for arrays that do not fit the parameters, and for an access out of bounds, naming it. Scratch is
    filled with rubbish before each parallel iteration.

    Threads of blocks run in step. Raises VerifyError, too, for barriers that some threads do not reach, and where
    threads use an element of shared memory, or write one of a buffer, with no barrier between them.
    """
    interpreter = _Interpreter(kernel, buffers, sizes)
    if kernel.threads:
        BlockInterpreter(kernel, interpreter.flat, sizes).run()
    else:
        interpreter.run()


class _Interpreter:
    def __init__(self, kernel: Kernel, buffers: Sequence[Array], sizes: Sequence[int]) -> None:
        _need(len(sizes) == kernel.sizes, f"{kernel.name}: {len(sizes)} sizes for {kernel.sizes}")
        _need(len(buffers) == len(kernel.buffers), f"{kernel.name}: {len(buffers)} arrays for {len(kernel.buffers)}")
        self.kernel = kernel
        self.values: dict[int, Array] = {}
        self.variables = {IndexVariable("n", k): int(n) for k, n in enumerate(sizes)}
        self.flat: dict[int, Array] = {}
        self.shapes: dict[int, tuple[int, ...]] = {}
        self.strides: dict[int, tuple[int, ...]] = {}
        for m, array in zip(kernel.buffers, buffers, strict=True):
            _need(array.dtype == m.dtype.numpy, f"{m.name}: an array of {array.dtype} for {m.dtype}")
            _need(array.flags.c_contiguous, f"{m.name}: the array is not contiguous")
            self.flat[m.id] = array.reshape(-1)
        for s in kernel.scratches:
            self.flat[s.id] = np.zeros(s.static_size, s.dtype.numpy)
        for m in kernel.tables:
            bits = np.array(m.data, f"u{m.dtype.itemsize}")
            self.flat[m.id] = bits != 0 if m.dtype == BOOL else bits.view(m.dtype.numpy)
        for m in kernel.buffers + kernel.scratches + kernel.tables:
            self.shapes[m.id] = tuple(map(self.index, m.shape))
            self.strides[m.id] = tuple(map(self.index, m.strides))

    def run(self) -> None:
        k = self.kernel
        counts = [-(-self.index(e) // g) for e, g in zip(k.extents, k.grains, strict=True)]
        for point in itertools.product(*map(range, counts)):
            self.variables.update(zip(k.indices, point, strict=True))
            for s in k.scratches:
                self.flat[s.id].view(np.uint8)[:] = 1 if s.dtype == BOOL else 0xFF
            self.block(k.body)

    def block(self, body: tuple[Statement, ...]) -> None:
        for s in body:
            if isinstance(s, Loop):
                self.loop(s)
            elif isinstance(s, While):
                self.while_(s)
            elif isinstance(s, Role):
                raise VerifyError(f"{self.kernel.name}: roles of threads are not interpreted")
            elif s.op in MACHINE_OPS:
                raise VerifyError(f"{self.kernel.name}: {s.op} is not interpreted: it is an operation of a block")
            elif s.writes_memory:
                self.store(s)
            elif isinstance(s.result, Value):
                result = self.load(s) if s.reads_memory else self.value(s)
                assert result.dtype == s.result.dtype.numpy and result.shape == (s.result.lanes,), s
                self.values[s.result.id] = result
            elif s.result is not None:
                self.variables[s.result] = self.index_result(s)

    def loop(self, loop: Loop) -> None:
        carried = [self.values[v.id] for v in loop.initial]
        for i in range(self.index(loop.lower), self.index(loop.upper), loop.step):
            self.variables[loop.index] = i
            self.values.update(zip((a.id for a in loop.arguments), carried, strict=True))
            self.block(loop.body)
            carried = [self.values[y.id] for y in loop.yields]
        self.values.update(zip((r.id for r in loop.results), carried, strict=True))

    def while_(self, loop: While) -> None:
        carried = [self.values[v.id] for v in loop.initial]
        while True:
            self.values.update(zip((a.id for a in loop.arguments), carried, strict=True))
            self.block(loop.test)
            if not self.values[loop.condition.id][0]:
                break
            self.block(loop.body)
            carried = [self.values[y.id] for y in loop.yields]
        self.values.update(zip((r.id for r in loop.results), carried, strict=True))

    def value(self, n: Instruction) -> Array:
        t, operands = n.value.type, [self.values[v.id] for v in n.operands]
        if n.op in ELEMENTWISE:
            return numeric.elementwise(n.op, n.operands[0].dtype, operands)
        match n.op, n.attribute:
            case "constant", int() | tuple() as bits:
                lanes = bits if isinstance(bits, tuple) else (bits,) * t.lanes
                array = np.array(lanes, dtype=f"u{t.dtype.itemsize}")
                return array != 0 if t.dtype == BOOL else array.view(t.dtype.numpy)
            case "iota", _:
                return numeric.convert(np.arange(t.lanes, dtype=np.int32), I32, t.dtype)
            case "splat", _:
                return np.repeat(operands[0], t.lanes)
            case "compare", str() as direction:
                return numeric.compare(direction, *operands)
            case "select", _:
                return np.where(operands[0], operands[1], operands[2])
            case "convert", _:
                return numeric.convert(operands[0], n.operands[0].dtype, t.dtype)
            case "bitcast", _:
                return operands[0].view(t.dtype.numpy)
            case "reduce", str() as op:
                return numeric.reduce(op, t.dtype, operands[0])
            case ("dot2" | "dot4") as op, _:
                return numeric.dot(int(op[-1]), *operands)
            case "shuffle", tuple() as lanes:
                return np.concatenate(operands)[list(lanes)]
            case "extract", int() as lane:
                return operands[0][lane : lane + 1]
            case "insert", int() as lane:
                result = operands[0].copy()
                result[lane] = operands[1][0]
                return result
            case "tail_mask", _:
                start, stop = map(self.index, n.indices)
                return start + np.arange(t.lanes) < stop
            case "index_value", _:
                bits_kept = self.index(n.indices[0]) % (1 << t.dtype.bits)
                return np.array([bits_kept], dtype=f"u{t.dtype.itemsize}").view(t.dtype.numpy)
        raise AssertionError(f"{n.op} passed the verifier")

    def index_result(self, n: Instruction) -> int:
        if n.op == "index_of":
            return int(self.values[n.operands[0].id][0])
        x, y = map(self.index, n.indices)
        if n.op in ("floordiv", "mod"):
            _need(y > 0, f"{self.kernel.name}: {n.op} of {x} by {y}, which is not positive")
            return x // y if n.op == "floordiv" else x % y
        return min(x, y) if n.op == "min" else max(x, y)

    def load(self, n: Instruction) -> Array:
        m, lanes = _memory(n), n.value.lanes
        mask = self.mask(n)
        result = np.zeros(lanes, m.dtype.numpy)
        result[mask] = self.flat[m.id][self.offsets(n, m, mask)]
        return result

    def store(self, n: Instruction) -> None:
        m, value, mask = _memory(n), self.values[n.operands[0].id], self.mask(n)
        self.flat[m.id][self.offsets(n, m, mask)] = value[mask]  # NumPy assigns in order: the last lane stays

    def mask(self, n: Instruction) -> Array:
        return np.ones(n.accessed.lanes, np.bool_) if n.mask is None else self.values[n.mask.id]

    def offsets(self, n: Instruction, m: Memory, mask: Array) -> Array:
        """Flat offsets of the lanes that are on, each checked against the shape and the array."""
        at = [self.index(i) for i in n.indices]
        along = np.arange(len(mask)) if n.offsets is None else self.values[n.offsets.id].astype(np.int64)
        lanes = along[mask]
        if not len(lanes):
            return lanes
        low, high = (lanes[0], lanes[-1]) if n.offsets is None else (lanes.min(), lanes.max())
        if at:
            self.check(n, m, at, int(low), int(high))
        strides = self.strides[m.id]
        begin, step = sum(map(mul, at, strides)), strides[-1] if strides else 1
        inside = all(0 <= begin + int(lane) * step < len(self.flat[m.id]) for lane in (low, high))
        if not inside:
            size = len(self.flat[m.id])
            raise VerifyError(f"{self.kernel.name}: {n.op} {m.name}{at} lies outside of its {size} elements")
        flat: Array = begin + lanes * step
        return flat

    def check(self, n: Instruction, m: Memory, at: list[int], low: int, high: int) -> None:
        """That an access at ``at``, its lanes ``low`` to ``high`` behind that along the last axis, is in the shape."""
        shape = self.shapes[m.id]
        ends = zip([*at[:-1], at[-1] + low], [*at[:-1], at[-1] + high], shape, strict=True)
        for axis, (first, last, size) in enumerate(ends):
            if first < 0 or last >= size:
                where = f"{self.kernel.name}: {n.op} {m.name}{at} of shape {list(shape)}"
                raise VerifyError(f"{where}: axis {axis} is out of bounds at {last if first >= 0 else first}")

    def index(self, index: Index) -> int:
        return index.evaluate(self.variables)


def _memory(n: Instruction) -> Memory:
    assert n.memory is not None
    return n.memory


def _need(condition: bool, message: str) -> None:
    if not condition:
        raise VerifyError(message)
