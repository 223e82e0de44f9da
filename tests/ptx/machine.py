"""Runs a kernel over all threads of a grid at once: the lowest program counter goes first, barriers park threads.

Every register is one NumPy array over all threads. Threads that diverged meet again where the text puts them at the
same instruction. What a GPU leaves unsaid is an error here: races, reads of what nobody wrote, accesses outside of
allocations or of their alignment, barriers that not all threads of a block reach, copies that nobody waited for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import arithmetic, matrix, warp
from .copies import Copies
from .errors import PtxError
from .memory import Memory
from .spaces import Spaces
from .text import Address, Instruction, Kernel, Module, Negated, Number, Operand, Pair, Register, Symbol, Vector, parse
from .values import RAW, TYPES, bits_of, decode, encode

Array = Any
Extent = tuple[int, int, int]
WARP = 32
LIMIT = 20_000_000  # instructions of one launch, each for some threads


class Program:
    """A PTX module on a device with ``memory``; its constant tables are put there.

    >>> program = Program(open("kernel.ptx").read(), Memory())  # doctest: +SKIP
    >>> program.launch("add", grid=(4, 1, 1), block=(128, 1, 1), arguments=[x, y, n])  # doctest: +SKIP
    """

    def __init__(self, text: str, memory: Memory) -> None:
        self.module: Module = parse(text)
        self.memory = memory
        self.addresses = {}
        for variable in self.module.variables:
            if variable.space in ("global", "const"):
                address = memory.allocate(variable.size)
                initial = np.frombuffer(variable.initial or bytes(variable.size), np.uint8)
                memory.write(address, initial)
                memory.find(address, variable.size)[0].is_constant = variable.space == "const"
                self.addresses[variable.name] = address

    def launch(
        self, name: str, *, grid: Extent, block: Extent, arguments: Sequence[int | float], shared_bytes: int = 0
    ) -> None:
        """Run the kernel over the grid. Arguments are integers (addresses too), or floats for float parameters.

        Raises PtxError; memory is then as far as the kernel had come.
        """
        if name not in self.module.kernels:
            raise PtxError("launch", f"the module has no kernel {name!r}")
        if min(*grid, *block) < 1 or block[0] * block[1] * block[2] > 1024:
            raise PtxError("launch", f"{name}: no grid of {grid} blocks of {block} threads")
        kernel = self.module.kernels[name]
        limit = kernel.limits.get("reqntid")
        if limit and tuple(limit) + (1,) * (3 - len(limit)) != tuple(block):
            raise PtxError("launch", f"{name}: blocks of {block} where .reqntid says {limit}")
        Machine(self, kernel, grid, block, arguments, shared_bytes).run()


class Machine:
    def __init__(
        self,
        program: Program,
        kernel: Kernel,
        grid: Extent,
        block: Extent,
        arguments: Sequence[int | float],
        dynamic: int,
    ) -> None:
        self.kernel = kernel
        self.block_threads = block[0] * block[1] * block[2]
        self.blocks = grid[0] * grid[1] * grid[2]
        self.threads = n = self.blocks * self.block_threads
        thread = np.arange(n)
        self.block_of, inside = np.divmod(thread, self.block_threads)
        warps = -(-self.block_threads // WARP)
        self.warp_of, self.lane_of = self.block_of * warps + inside // WARP, inside % WARP
        self.epoch = np.zeros(n, np.int32)
        self.warp_epoch = np.zeros(n, np.int32)
        self.pc = np.zeros(n, np.int64)
        self.exited = np.zeros(n, bool)
        self.parked = np.zeros(n, bool)
        self.special = self._special(grid, block, inside)
        self.registers: dict[str, Array] = {}
        self.defined: dict[str, Array] = {}  # of registers that only some threads have written
        self.kinds = kernel.registers
        self.spaces = Spaces(self, program, arguments, dynamic)
        self.copies = Copies(self)
        self.lanes = thread
        self.at = kernel.code[0] if kernel.code else Instruction(("ret",), (), 0)

    def _special(self, grid: Extent, block: Extent, inside: Array) -> dict[str, Array]:
        found = {}
        for axis, letter in enumerate("xyz"):
            under, over = int(np.prod(block[:axis])), int(np.prod(grid[:axis]))
            found[f"%tid.{letter}"] = inside // under % block[axis]
            found[f"%ctaid.{letter}"] = self.block_of // over % grid[axis]
            found[f"%ntid.{letter}"] = np.full(self.threads, block[axis])
            found[f"%nctaid.{letter}"] = np.full(self.threads, grid[axis])
        found["%laneid"] = self.lane_of
        found["%warpid"] = inside // WARP
        for name, rule in (("eq", lambda n: 1 << n), ("lt", lambda n: (1 << n) - 1), ("le", lambda n: (2 << n) - 1)):
            found[f"%lanemask_{name}"] = rule(self.lane_of)
        found["WARP_SZ"] = np.full(self.threads, WARP)
        return {name: values.astype(np.uint32) for name, values in found.items()}

    # ---------------------------------------------------------------- control

    def run(self) -> None:
        count = 0
        while True:
            free = ~(self.exited | self.parked)
            if not free.any():
                if self.exited.all():
                    return self.copies.finish()
                self._release()
                continue
            at = int(self.pc[free].min())
            self.lanes = np.flatnonzero(free & (self.pc == at))
            others = self.pc[free & (self.pc > at)]
            stop = int(others.min()) if len(others) else len(self.kernel.code)
            while at < stop:
                count += 1
                if count > LIMIT:
                    raise PtxError("deadlock", f"{self.kernel.name} ran {LIMIT} instructions", line=self.at.line)
                if not self.step(at):
                    break
                at += 1
            else:
                self.pc[self.lanes] = at
                if at >= len(self.kernel.code):
                    self.exited[self.lanes] = True

    def step(self, at: int) -> bool:
        """Run one instruction for the threads that are at it; False where they are not all at the next one then."""
        n = self.at = self.kernel.code[at]
        lanes, chosen = self.lanes, None
        if n.guard is not None:
            chosen = self.predicate(n.guard)
        name = n.parts[0]
        try:
            if name == "bra":
                target = self.kernel.labels[self._symbol(n.operands[0])]
                self.pc[lanes] = at + 1
                self.pc[lanes if chosen is None else lanes[chosen]] = target
                return False
            if name in ("ret", "exit", "trap"):
                if name == "trap":
                    raise PtxError("launch", "trap")
                self.pc[lanes] = at + 1
                self.exited[lanes if chosen is None else lanes[chosen]] = True
                return False
            if n.parts[:1] in (("bar",), ("barrier",)) and "warp" not in n.parts:
                self._plain_barrier(n)
                self.pc[lanes], self.parked[lanes] = at, True
                return False
            if warp.is_collective(n) and chosen is None and not self._whole_warps():
                return self._wait_for_warps(at)
            if chosen is not None:
                self.lanes = lanes[chosen]
            if len(self.lanes):
                self._execute(n)
        except PtxError as error:
            if error.line:
                raise
            raise PtxError(
                error.kind, f"{self.kernel.name}: {error.args[0].partition(': ')[2]} ({n})", line=n.line
            ) from error
        finally:
            self.lanes = lanes
        return True

    def _plain_barrier(self, n: Instruction) -> None:
        if len(n.operands) != 1 or not ({"sync"} & set(n.parts)):
            raise PtxError("unknown_instruction", "only barriers of whole blocks are known")

    def _whole_warps(self) -> bool:
        here = np.bincount(self.warp_of[self.lanes], minlength=int(self.warp_of[-1]) + 1)
        live = np.bincount(self.warp_of[~self.exited], minlength=len(here))
        return bool(((here == 0) | (here == live)).all())

    def _wait_for_warps(self, at: int) -> bool:
        """Threads whose warp is not all here wait for it; the others go on."""
        here = np.bincount(self.warp_of[self.lanes], minlength=int(self.warp_of[-1]) + 1)
        live = np.bincount(self.warp_of[~self.exited], minlength=len(here))
        whole = (here == live)[self.warp_of[self.lanes]]
        lanes = self.lanes
        self.pc[lanes] = at
        if whole.any():
            self.lanes = lanes[whole]
            self._execute(self.at)
            self.pc[self.lanes] = at + 1
        self.parked[lanes[~whole]] = True
        return False

    def _release(self) -> None:
        """No thread can go on: open the barriers that all threads of a block, or of a warp, have reached."""
        freed = False
        for unit, opened in ((self.warp_of, False), (self.block_of, True)):
            low = np.full(int(unit[-1]) + 1, np.iinfo(np.int64).max)
            high = np.full(len(low), -1)
            np.minimum.at(low, unit[~self.exited], self.pc[~self.exited])
            np.maximum.at(high, unit[~self.exited], self.pc[~self.exited])
            gone = np.bincount(unit[self.exited], minlength=len(low)) > 0
            for at in np.unique(low[low == high]):
                n = self.kernel.code[int(at)]
                if (n.parts[0] in ("bar", "barrier") and "warp" not in n.parts) != opened:
                    continue
                ready = ((low == at) & (high == at))[unit] & ~self.exited & self.parked
                if opened and gone[unit[ready]].any():
                    continue
                self.parked[ready] = False
                freed = freed or bool(ready.any())
                if opened:
                    self.epoch[ready] += 1
                    self.warp_epoch[ready] += 1
                    self.pc[ready] += 1
        if not freed:
            waiting = np.flatnonzero(self.parked)[0]
            n = self.kernel.code[int(self.pc[waiting])]
            raise PtxError(
                "divergent_barrier", f"{self.kernel.name}: {n} is not reached by all threads", line=n.line,
                thread=f"thread {waiting} of block {self.block_of[waiting]} waits",
            )  # fmt: skip

    # ---------------------------------------------------------------- operands

    def predicate(self, guard: Register | Negated) -> Array:
        register = guard.register if isinstance(guard, Negated) else guard
        found = self.raw(register)
        return ~found if isinstance(guard, Negated) else found

    def raw(self, register: Register) -> Array:
        """The bits that the threads here have in a register."""
        if register.name in self.special:
            return self.special[register.name][self.lanes]
        found = self.registers.get(register.name)
        defined = self.defined.get(register.name)
        if found is None or (defined is not None and not defined[self.lanes].all()):
            raise PtxError("uninitialised", f"{register.name} is read before it is written")
        return found[self.lanes]

    def read(self, operand: Operand, type: str) -> Array:
        """The values of an operand as numbers of ``type``, one for each thread that is here."""
        if isinstance(operand, Register):
            return decode(self.raw(operand), type)
        if isinstance(operand, Negated):
            return ~self.raw(operand.register)
        if isinstance(operand, Number):
            return self._number(operand, type)
        if isinstance(operand, Symbol):
            if operand.name in self.special:
                return decode(self.special[operand.name][self.lanes], type)
            return np.full(len(self.lanes), self.spaces.address_of(operand.name), np.uint64).astype(RAW[bits_of(type)])
        raise PtxError("unknown_instruction", f"operand {operand}")

    def _number(self, number: Number, type: str) -> Array:
        if type == "pred":
            return np.full(len(self.lanes), bool(number.bits))
        bits = bits_of(type)
        if number.width and number.width != bits:  # a float immediate of another width
            return np.full(len(self.lanes), number.as_float(), np.float32 if bits == 32 else np.float64)
        return decode(np.full(len(self.lanes), number.bits % (1 << bits), RAW[bits]), type)

    def write(self, operand: Operand, type: str, values: Array) -> None:
        if isinstance(operand, Vector):
            for i, one in enumerate(operand.elements):
                self.write(one, type, values[:, i])
            return
        if isinstance(operand, Pair):
            raise PtxError("unknown_instruction", "two results")
        if not isinstance(operand, Register):
            raise PtxError("unknown_instruction", f"a result in {operand}")
        if operand.name == "_":
            return
        kind = self.kinds.get(operand.name)
        if kind is None:
            raise PtxError("unknown_instruction", f"{operand.name} is not declared")
        raw = encode(values, type)
        dtype = np.dtype(bool) if kind == "pred" else np.dtype(RAW[bits_of(kind)])
        raw = (
            raw.view(f"i{raw.itemsize}").astype(f"i{dtype.itemsize}").view(dtype)
            if type[0] == "s"
            else raw.astype(dtype)
        )
        found = self.registers.get(operand.name)
        if found is None:
            found = self.registers[operand.name] = np.zeros(self.threads, dtype)
            self.defined[operand.name] = np.zeros(self.threads, bool)
        found[self.lanes] = raw
        if operand.name in self.defined:
            self.defined[operand.name][self.lanes] = True
            if self.defined[operand.name].all():
                del self.defined[operand.name]

    def addresses(self, operand: Operand) -> Array:
        """The 64-bit addresses of ``[...]``."""
        if not isinstance(operand, Address):
            raise PtxError("unknown_instruction", f"{operand} is no address")
        base = operand.base
        if isinstance(base, Symbol):
            found = np.full(len(self.lanes), self.spaces.address_of(base.name), np.uint64)
        elif isinstance(base, Number):
            found = np.full(len(self.lanes), base.bits, np.uint64)
        else:
            found = self.raw(base).astype(np.uint64)
        return found + np.uint64(operand.offset % (1 << 64))

    def _symbol(self, operand: Operand) -> str:
        assert isinstance(operand, Symbol)
        return operand.name

    # ---------------------------------------------------------------- instructions

    def _execute(self, n: Instruction) -> None:
        name, operands = n.parts[0], n.operands
        types = [p for p in n.parts[1:] if p in TYPES]
        if name in ("ld", "ldu", "st"):
            self.spaces.access(n, types[-1])
        elif name in ("atom", "red"):
            self.spaces.atomic(n, types[-1])
        elif name == "setp" or name == "set":
            self._compare(n, types)
        elif name == "cvt":
            self._convert(n, types)
        elif name == "cvta":
            self.spaces.generic(n)
        elif name == "mov" and (isinstance(operands[0], Vector) or isinstance(operands[1], Vector)):
            self._pack(n, types[0])
        elif name in warp.RULES or (warp.is_collective(n) and name == "bar"):
            warp.run(self, n, types)
        elif name in matrix.RULES:
            matrix.RULES[name](self, n)
        elif name == "cp":
            self.copies.run(n)
        elif name in ("membar", "fence", "griddepcontrol", "prefetch", "prefetchu", "discard", "applypriority"):
            return
        elif name in arithmetic.FORMULAS and types:
            self._arithmetic(n, types)
        else:
            raise PtxError("unknown_instruction", str(n))

    def _arithmetic(self, n: Instruction, types: Sequence[str]) -> None:
        name, type = n.parts[0], types[-1] if n.parts[0] != "dp4a" else types[0]
        sources = [type] * (len(n.operands) - 1)
        if name in ("shl", "shr", "shf", "bfe", "bfi"):
            late = {"shl": 1, "shr": 1, "shf": 2, "bfe": 1, "bfi": 2}[name]
            sources[late:] = ["u32"] * (len(sources) - late)
        elif name in ("selp",):
            sources[2] = "pred"
        elif name == "slct":
            type, sources = types[0], [types[0], types[0], types[1]]
        elif name == "dp4a":
            sources = ["b32", "b32", "s32" if "s32" in types else "u32"]
            type = sources[2]
        elif name == "mad" and "wide" in n.parts:
            sources[2] = f"{type[0]}{2 * bits_of(type)}"
        result = arithmetic.compute(
            n.parts, type, [self.read(o, t) for o, t in zip(n.operands[1:], sources, strict=True)]
        )
        if "wide" in n.parts:
            type = f"{type[0]}{2 * bits_of(type)}"
        elif name in ("popc", "clz"):
            type = "u32"
        elif name == "testp":
            type = "pred"
        self.write(n.operands[0], type, result)

    def _compare(self, n: Instruction, types: Sequence[str]) -> None:
        booleans = [p for p in n.parts if p in ("and", "or", "xor")]
        source = types[-1]
        a, b = self.read(n.operands[1], source), self.read(n.operands[2], source)
        if "ftz" in n.parts and source == "f32":
            from .values import flush

            a, b = flush(a), flush(b)
        found = arithmetic.compare(n.parts[1], a, b)
        if booleans:
            other = self.read(n.operands[3], "pred")
            found = {"and": found & other, "or": found | other, "xor": found ^ other}[booleans[0]]
        if n.parts[0] == "set":
            self.write(
                n.operands[0], types[0], found.astype(np.float32) if types[0] == "f32" else -found.astype(np.int64)
            )
        elif isinstance(n.operands[0], Pair):
            self.write(n.operands[0].value, "pred", found)
            self.write(n.operands[0].predicate, "pred", ~found)
        else:
            self.write(n.operands[0], "pred", found)

    def _convert(self, n: Instruction, types: Sequence[str]) -> None:
        to, source = types[-2], types[-1]
        if to in ("f16x2", "bf16x2"):  # the first operand becomes the upper half
            high, low = self.read(n.operands[1], source), self.read(n.operands[2], source)
            both = [arithmetic.convert(n.parts, to[:-2], source, x) for x in (low, high)]
            return self.write(n.operands[0], to, np.stack(both, 1))
        x = self.read(n.operands[1], source)
        self.write(n.operands[0], to, arithmetic.convert(n.parts, to, source, x))

    def _pack(self, n: Instruction, type: str) -> None:
        whole, parts = (n.operands[1], n.operands[0]) if isinstance(n.operands[0], Vector) else n.operands[:2]
        assert isinstance(parts, Vector)
        part = f"b{bits_of(type) // len(parts.elements)}"
        if parts is n.operands[0]:
            raw = np.ascontiguousarray(self.read(whole, type))[:, None].view(RAW[bits_of(part)])
            return self.write(parts, part, raw)
        raw = np.stack([self.read(e, part) for e in parts.elements], 1)
        self.write(whole, type, np.ascontiguousarray(raw).view(RAW[bits_of(type)])[:, 0])
