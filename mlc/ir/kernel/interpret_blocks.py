"""Runs kernels of blocks of threads on NumPy arrays, all threads in step, and checks what threads may do together.

A value is an array [threads, lanes]. Threads that a loop or a role leaves out are off: they read and write nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlc.errors import VerifyError
from mlc.ir.types import BOOL, F32, I32

from . import numeric
from .block_memory import BlockMemory, Copies, Threads
from .data import Instruction, Kernel, Loop, Role, Statement, Value, While
from .fragments import fragment_places, gathered, spread
from .index import Index, IndexVariable
from .machine import MACHINE_OPS
from .numeric import Array
from .ops import ELEMENTWISE

MOST_THREADS = 1 << 14  # that run in step; blocks beyond them follow
WARP = 32


class BlockInterpreter:
    """Executes ``kernel`` in place on ``flat``, the elements of its buffers by memory id."""

    def __init__(self, kernel: Kernel, flat: dict[int, Array], sizes: Sequence[int]) -> None:
        self.kernel = kernel
        self.sizes = {IndexVariable("n", k): int(n) for k, n in enumerate(sizes)}
        self.buffers = {m.id: BlockMemory.of_buffer(m, flat[m.id], self.sizes) for m in kernel.buffers}
        for m in kernel.tables:
            self.buffers[m.id] = BlockMemory.of_buffer(m, flat[m.id], self.sizes)
        self.variables: dict[IndexVariable, Array | int] = {}
        self.values: dict[int, Array] = {}

    def run(self) -> None:
        k = self.kernel
        counts = [-(-e.evaluate(self.sizes) // g) for e, g in zip(k.extents, k.grains, strict=True)]
        split = len(counts) - k.threads
        size, blocks = int(np.prod(counts[split:])), int(np.prod(counts[:split]))
        step = max(MOST_THREADS // size, 1)
        for first in range(0, blocks, step):
            self.threads = Threads(first, min(step, blocks - first), size)
            self.variables = {**self.sizes}
            self.variables.update(zip(k.indices, np.unravel_index(self.threads.number, counts), strict=True))
            own = {m.id: BlockMemory.of_threads(m, self.threads) for m in k.scratches}
            own |= {m.id: BlockMemory.of_blocks(m, self.threads) for m in k.shared}
            self.memories = {**self.buffers, **own}
            self.copies = Copies(len(self.threads.number))
            self.block(k.body)

    # Control flow

    def block(self, body: tuple[Statement, ...]) -> None:
        for s in body:
            if isinstance(s, Loop):
                self.loop(s)
            elif isinstance(s, While):
                self.while_(s)
            elif isinstance(s, Role):
                on = self.threads.on
                at = self.variables[s.index]
                self.threads.on = on & (s.first <= at) & (at < s.last)
                self.block(s.body)
                self.threads.on = on
            else:
                self.instruction(s)

    def loop(self, loop: Loop) -> None:
        on, lower, upper = self.threads.on, self.index(loop.lower), self.index(loop.upper)
        carried = [self.values[v.id] for v in loop.initial]
        i = lower
        while True:
            running = on & (i < upper)
            if not running.any():
                break
            self.threads.on = running
            self.variables[loop.index] = i
            self.values.update(zip((a.id for a in loop.arguments), carried, strict=True))
            self.block(loop.body)
            carried = self.chosen(running, loop.yields, carried)
            i = i + loop.step
        self.threads.on = on
        self.values.update(zip((r.id for r in loop.results), carried, strict=True))

    def while_(self, loop: While) -> None:
        on = self.threads.on
        carried = [self.values[v.id] for v in loop.initial]
        while True:
            self.values.update(zip((a.id for a in loop.arguments), carried, strict=True))
            self.block(loop.test)
            running = self.threads.on & self.values[loop.condition.id][:, 0]
            if not running.any():
                break
            self.threads.on = running
            self.block(loop.body)
            carried = self.chosen(running, loop.yields, carried)
        self.threads.on = on
        self.values.update(zip((r.id for r in loop.results), carried, strict=True))

    def chosen(self, running: Array, yields: tuple[Value, ...], carried: list[Array]) -> list[Array]:
        following = [self.values[y.id] for y in yields]
        if running.all():
            return following
        return [np.where(running[:, None], new, old) for new, old in zip(following, carried, strict=True)]

    # Instructions

    def instruction(self, n: Instruction) -> None:
        if n.op in _MACHINE:
            _MACHINE[n.op](self, n)
        elif n.op in MACHINE_OPS:
            raise VerifyError(f"{self.kernel.name}: {n.op} is not interpreted")
        elif n.writes_memory:
            memory, value = self.memory(n), self.values[n.operands[0].id]
            memory.write(n, self.places(n, memory), value, self.threads)
        elif n.reads_memory:
            memory = self.memory(n)
            self.values[n.value.id] = memory.read(n, self.places(n, memory), self.threads)
        elif isinstance(n.result, Value):
            self.values[n.result.id] = self.value(n)
        elif n.result is not None:
            self.variables[n.result] = self.index_result(n)

    def memory(self, n: Instruction) -> BlockMemory:
        assert n.memory is not None
        return self.memories[n.memory.id]

    def value(self, n: Instruction) -> Array:
        t, count = n.value.type, len(self.threads.number)
        operands = [self.values[v.id] for v in n.operands]
        if n.op in ELEMENTWISE:
            result = numeric.elementwise(n.op, n.operands[0].dtype, [x.reshape(-1) for x in operands])
            return result.reshape(count, -1)
        match n.op, n.attribute:
            case "constant", int() | tuple() as bits:
                array = np.array(bits, dtype=f"u{t.dtype.itemsize}")
                array = array != 0 if t.dtype == BOOL else array.view(t.dtype.numpy)
                return np.broadcast_to(array, (count, t.lanes))
            case "iota", _:
                lanes = numeric.convert(np.arange(t.lanes, dtype=np.int32), I32, t.dtype)
                return np.broadcast_to(lanes, (count, t.lanes))
            case "splat", _:
                return np.repeat(operands[0], t.lanes, axis=1)
            case "compare", str() as direction:
                return numeric.compare(direction, *operands)
            case "select", _:
                return np.where(operands[0], operands[1], operands[2])
            case "convert", _:
                return numeric.convert(operands[0], n.operands[0].dtype, t.dtype)
            case "bitcast", _:
                return np.ascontiguousarray(operands[0]).view(t.dtype.numpy)
            case "reduce", str() as op:
                return np.ascontiguousarray(numeric.reduce(op, t.dtype, operands[0].T).T)
            case ("dot2" | "dot4") as op, _:
                x, y, total = (v.reshape(-1) for v in operands)
                return numeric.dot(int(op[-1]), x, y, total).reshape(count, -1)
            case "shuffle", tuple() as lanes:
                return np.concatenate(operands, axis=1)[:, list(lanes)]
            case "extract", int() as lane:
                return operands[0][:, lane : lane + 1]
            case "insert", int() as lane:
                result = operands[0].copy()
                result[:, lane : lane + 1] = operands[1]
                return result
            case "tail_mask", _:
                start, stop = (self.wide(i)[:, None] for i in n.indices)
                return start + np.arange(t.lanes) < stop
            case "index_value", _:
                kept = self.wide(n.indices[0]).astype(np.int64).view(np.uint64).astype(f"u{t.dtype.itemsize}")
                return kept.view(t.dtype.numpy)[:, None]
        raise AssertionError(f"{n.op} passed the verifier")

    def index_result(self, n: Instruction) -> Array | int:
        if n.op == "index_of":
            return self.values[n.operands[0].id][:, 0].astype(np.int64)
        x, y = map(self.index, n.indices)
        if n.op in ("floordiv", "mod"):
            bad = self.threads.on & (y <= 0)
            if bad.any():
                raise VerifyError(f"{self.kernel.name}: {n.op} by what is not positive")
            y = np.maximum(y, 1) if isinstance(y, np.ndarray) else y
            return x // y if n.op == "floordiv" else x % y
        return np.minimum(x, y) if n.op == "min" else np.maximum(x, y)

    def index(self, index: Index) -> Array | int:
        """An index in every thread; an int where it is the same in all of them for certain."""
        total: Array | int = 0
        for monomial, coefficient in index.terms:
            product: Array | int = coefficient
            for v in monomial:
                product = product * self.variables[v]
            total = total + product
        return total

    def wide(self, index: Index) -> Array:
        return np.broadcast_to(np.asarray(self.index(index), np.int64), len(self.threads.number))

    # Memory

    def places(self, n: Instruction, memory: BlockMemory) -> tuple[Array, Array]:
        """Flat places [threads, lanes] of a load, store, gather or scatter, and which of them are on; all checked."""
        lanes = n.accessed.lanes
        on = np.repeat(self.threads.on[:, None], lanes, axis=1)
        if n.mask is not None:
            on &= self.values[n.mask.id]
        along = np.arange(lanes) if n.offsets is None else self.values[n.offsets.id].astype(np.int64)
        at = [self.wide(i)[:, None] for i in n.indices]
        if at:
            at[-1] = at[-1] + along
        return memory.places(n, at, on, self.threads), on

    # Blocks

    def warps(self, n: Instruction) -> Array:
        """The threads of whole warps that are on, [warps, 32]; VerifyError where a warp is on in part."""
        on, t = self.threads.on, self.threads
        if t.size % WARP:
            raise VerifyError(f"{self.kernel.name}: {n.op} in a block of {t.size} threads: no whole warps")
        warps = on.reshape(-1, WARP)
        if (warps.any(axis=1) != warps.all(axis=1)).any():
            raise VerifyError(f"{self.kernel.name}: {n.op} where a warp is on in part")
        return np.arange(len(on)).reshape(-1, WARP)[warps[:, 0]]

    def barrier(self, n: Instruction) -> None:
        t = self.threads
        if n.attribute == "warp":
            self.warps(n)
            t.warps[t.on] += 1
            return
        if n.attribute is not None:
            raise VerifyError(f"{self.kernel.name}: a numbered barrier is not interpreted")
        blocks = t.on.reshape(-1, t.size)
        if (blocks.any(axis=1) != blocks.all(axis=1)).any():
            raise VerifyError(f"{self.kernel.name}: a barrier that not all threads of a block reach")
        t.blocks[t.on] += 1

    def warp_shuffle(self, n: Instruction) -> None:
        warps = self.warps(n)
        given, by = self.values[n.operands[0].id], self.wide(n.indices[0])[warps]
        lane = np.broadcast_to(np.arange(WARP), warps.shape)
        source = {"down": lane + by, "up": lane - by, "xor": lane ^ by, "index": by % WARP}[str(n.attribute)]
        source = np.where((source >= 0) & (source < WARP), source, lane)
        result = given.copy()
        result[warps] = given[np.take_along_axis(warps, source, axis=1)]
        self.values[n.value.id] = result

    def async_copy(self, n: Instruction) -> None:
        if not isinstance(n.attribute, int):
            raise VerifyError(f"{self.kernel.name}: a copy by tensor map is not interpreted")
        assert n.source is not None
        target, source = self.memory(n), self.memories[n.source.id]
        count = n.attribute // n.source.dtype.itemsize
        on = np.repeat(self.threads.on[:, None], count, axis=1)
        reads = on & self.values[n.operands[0].id] if n.operands else on
        along = np.arange(count)
        of = [self.wide(i)[:, None] for i in n.source_indices]
        to = [self.wide(i)[:, None] for i in n.indices]
        of[-1], to[-1] = of[-1] + along, to[-1] + along
        origin, place = source.places(n, of, reads, self.threads), target.places(n, to, on, self.threads)
        for m, p, used in ((n.source, origin, reads[:, 0]), (n.memory, place, on[:, 0])):
            if (p[used, 0] % count).any():
                name = m.name if m is not None else ""
                raise VerifyError(f"{self.kernel.name}: {n.op} of {n.attribute} bytes is not aligned in {name}")
        values = source.read(n, (origin, reads), self.threads)
        poison = np.full(values.shape, 0xFF, np.uint8).repeat(values.itemsize, axis=1).view(values.dtype)
        target.write(n, (place, on), poison, self.threads)
        self.copies.issue(n, target, place, on, values)
        self.values[n.value.id] = np.zeros((len(on), 1), np.int64)

    def commit(self, n: Instruction) -> None:
        self.values[n.value.id] = self.copies.commit(self.threads.on)[:, None]

    def wait(self, n: Instruction) -> None:
        left = n.attribute if isinstance(n.attribute, int) else 0
        self.copies.wait(left, self.threads)
        if n.operands:
            group, last = self.values[n.operands[0].id][:, 0], self.copies.groups - left
            if (self.threads.on & (group >= last)).any():
                raise VerifyError(f"{self.kernel.name}: wait[{left}] does not wait for the group that it names")

    # Matrix units

    def matrix_places(self, n: Instruction, transposed: bool) -> list[Array]:
        warps = self.warps(n)
        t = n.operands[0].type if n.operands else n.value.type
        rows, columns = (np.tile(p, (len(self.threads.on) // WARP, 1)) for p in fragment_places(t))
        at = [self.wide(i)[:, None] for i in n.indices]
        for i in at:
            if (i[warps] != i[warps[:, :1]]).any():
                raise VerifyError(f"{self.kernel.name}: {n.op} at places that differ in a warp")
        first, last = (columns, rows) if transposed else (rows, columns)
        return [*at[:-2], at[-2] + first, at[-1] + last]

    def load_matrix(self, n: Instruction) -> None:
        """Fragments a lie row by row, those of b column by column."""
        memory, fragment = self.memory(n), n.value.type.fragment
        assert fragment is not None
        at = self.matrix_places(n, (fragment.role == "b") != (n.attribute == "transposed"))
        on = np.repeat(self.threads.on[:, None], n.value.lanes, axis=1)
        self.values[n.value.id] = memory.read(n, (memory.places(n, at, on, self.threads), on), self.threads)

    def store_matrix(self, n: Instruction) -> None:
        memory = self.memory(n)
        at = self.matrix_places(n, False)
        on = np.repeat(self.threads.on[:, None], n.operands[0].lanes, axis=1)
        for position, size in zip(at, memory.shape, strict=True):
            on &= (position >= 0) & (position < size)
        memory.write(n, (memory.places(n, at, on, self.threads), on), self.values[n.operands[0].id], self.threads)

    def mma(self, n: Instruction) -> None:
        self.warps(n)
        a, b, c = (gathered(v.type, self.values[v.id]) for v in n.operands)
        if n.operands[0].dtype == F32:  # tf32: the matrix unit reads 19 bits
            a, b = ((x.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32) for x in (a, b))
        with np.errstate(all="ignore"):
            if c.dtype.kind == "f":
                total = (c + a.astype(np.float64) @ b.astype(np.float64)).astype(c.dtype)
            else:
                total = c + a.astype(np.int32) @ b.astype(np.int32)
        self.values[n.value.id] = spread(n.value.type, total)


_MACHINE = {
    "barrier": BlockInterpreter.barrier, "warp_shuffle": BlockInterpreter.warp_shuffle,
    "async_copy": BlockInterpreter.async_copy, "commit": BlockInterpreter.commit, "wait": BlockInterpreter.wait,
    "load_matrix": BlockInterpreter.load_matrix, "store_matrix": BlockInterpreter.store_matrix,
    "mma": BlockInterpreter.mma,
}  # fmt: skip
