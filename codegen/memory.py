"""Reads and writes of memory as LLVM IR: plain, masked, gathered and scattered."""

from __future__ import annotations

from mlc.codegen import values
from mlc.codegen.addresses import Addresses
from mlc.codegen.lines import Lines
from mlc.codegen.names import constant, memory_element, typed, vector
from mlc.ir.kernel import Instruction, Memory, Value, VectorType
from mlc.ir.types import BOOL, I64


class Accesses:
    """Emits the accesses of one function; ``operands`` names values, ``aliases`` has each memory's metadata."""

    def __init__(self, out: Lines, addresses: Addresses, operands: dict[int, str], aliases: dict[int, str]) -> None:
        self.out = out
        self.addresses = addresses
        self.operands = operands
        self.aliases = aliases
        self.fences = False  # whether stores went past the caches

    def read(self, n: Instruction) -> str:
        """The operand that holds what a load or gather reads."""
        m, t = _memory(n), n.value.type
        name = vector(memory_element(m.dtype), t.lanes)
        mask = None if n.mask is None else self.operands[n.mask.id]
        if n.offsets is not None and t.lanes > 1:
            loaded = self.gathered(m, self.pointers(n, n.offsets), t.lanes, mask)
        elif mask is not None:
            loaded = self.masked_load(self.pointer(n), m, t.lanes, mask)
        else:
            loaded = self.out.let(f"load {name}, ptr {self.pointer(n)}, align {m.dtype.itemsize}{self.aliases[m.id]}")
        if m.dtype != BOOL:
            return loaded
        return self.out.let(f"icmp ne {name} {loaded}, {'zeroinitializer' if t.lanes > 1 else '0'}")

    def write(self, n: Instruction) -> None:
        m, value = _memory(n), n.operands[0]
        operand, lanes = self.operands[value.id], value.lanes
        mask = None if n.mask is None else self.operands[n.mask.id]
        name = vector(memory_element(m.dtype), lanes)
        if m.dtype == BOOL:
            operand = self.out.let(f"zext {typed(value.type)} {operand} to {name}")
        if n.offsets is not None and lanes > 1:
            self.scattered(operand, m, self.pointers(n, n.offsets), lanes, mask)
        elif mask is not None:
            self.masked_store(operand, self.pointer(n), m, lanes, mask)
        else:
            align, mark = m.dtype.itemsize, ""
            if n.attribute == "nontemporal":
                align, mark, self.fences = m.dtype.itemsize * lanes, ", !nontemporal !0", True
            pointer = self.pointer(n)
            self.out.add(f"store {name} {operand}, ptr {pointer}, align {align}{self.aliases[m.id]}{mark}")

    # Addresses

    def pointer(self, n: Instruction) -> str:
        """Where an access begins; that of a gather or scatter of one lane is moved by its offset."""
        m = _memory(n)
        pointer = self.addresses.element(m, n.indices)
        if n.offsets is None:
            return pointer
        kind = self.addresses.pointer_type(m)
        return self.out.let(f"getelementptr {memory_element(m.dtype)}, {kind} {pointer}, {self.steps(m, n.offsets)}")

    def pointers(self, n: Instruction, offsets: Value) -> str:
        m = _memory(n)
        pointer, kind = self.addresses.element(m, n.indices), self.addresses.pointer_type(m)
        return self.out.let(f"getelementptr {memory_element(m.dtype)}, {kind} {pointer}, {self.steps(m, offsets)}")

    def steps(self, m: Memory, offsets: Value) -> str:
        """Typed offsets in elements; addresses extend what is signed and narrower than they are."""
        operand, t, stride = self.operands[offsets.id], offsets.type, m.strides[-1]
        wide = VectorType(I64, t.lanes)
        if t.dtype.bits < 64 and (t.dtype.kind == "uint" or stride.constant != 1):
            operand, t = values.convert(self.out, operand, t, wide), wide
        if stride.constant is not None and stride.constant != 1:
            operand = self.out.let(f"mul {typed(t)} {operand}, {constant(stride.constant & (1 << 64) - 1, wide)}")
        elif stride.constant is None:
            step = values.splat(self.out, self.addresses.index(stride), wide)
            operand = self.out.let(f"mul {typed(t)} {operand}, {step}")
        return f"{typed(t)} {operand}"

    # Intrinsics

    def gathered(self, m: Memory, pointers: str, lanes: int, mask: str | None) -> str:
        wide, places, bools = f"<{lanes} x {memory_element(m.dtype)}>", f"<{lanes} x ptr>", f"<{lanes} x i1>"
        intrinsic = f"llvm.masked.gather.{_suffix(m, lanes)}.v{lanes}p0"
        self.out.declarations[intrinsic] = f"declare {wide} @{intrinsic}({places}, {bools}, {wide})"
        operands = f"{places} align {m.dtype.itemsize} {pointers}, {bools} {mask or 'splat (i1 true)'}"
        return self.out.let(f"call {wide} @{intrinsic}({operands}, {wide} zeroinitializer){self.aliases[m.id]}")

    def scattered(self, operand: str, m: Memory, pointers: str, lanes: int, mask: str | None) -> None:
        wide, places, bools = f"<{lanes} x {memory_element(m.dtype)}>", f"<{lanes} x ptr>", f"<{lanes} x i1>"
        intrinsic = f"llvm.masked.scatter.{_suffix(m, lanes)}.v{lanes}p0"
        self.out.declarations[intrinsic] = f"declare void @{intrinsic}({wide}, {places}, {bools})"
        operands = f"{places} align {m.dtype.itemsize} {pointers}, {bools} {mask or 'splat (i1 true)'}"
        self.out.add(f"call void @{intrinsic}({wide} {operand}, {operands}){self.aliases[m.id]}")

    def masked_load(self, pointer: str, m: Memory, lanes: int, mask: str) -> str:
        wide, bools = f"<{lanes} x {memory_element(m.dtype)}>", f"<{lanes} x i1>"
        if lanes == 1:
            mask = self.out.let(f"insertelement <1 x i1> poison, i1 {mask}, i64 0")
        intrinsic = f"llvm.masked.load.{_suffix(m, lanes)}.p0"
        self.out.declarations[intrinsic] = f"declare {wide} @{intrinsic}(ptr, {bools}, {wide})"
        operands = f"ptr align {m.dtype.itemsize} {pointer}, {bools} {mask}, {wide} zeroinitializer"
        loaded = self.out.let(f"call {wide} @{intrinsic}({operands}){self.aliases[m.id]}")
        return loaded if lanes > 1 else self.out.let(f"extractelement {wide} {loaded}, i64 0")

    def masked_store(self, operand: str, pointer: str, m: Memory, lanes: int, mask: str) -> None:
        element = memory_element(m.dtype)
        wide, bools = f"<{lanes} x {element}>", f"<{lanes} x i1>"
        if lanes == 1:
            mask = self.out.let(f"insertelement <1 x i1> poison, i1 {mask}, i64 0")
            operand = self.out.let(f"insertelement {wide} poison, {element} {operand}, i64 0")
        intrinsic = f"llvm.masked.store.{_suffix(m, lanes)}.p0"
        self.out.declarations[intrinsic] = f"declare void @{intrinsic}({wide}, ptr, {bools})"
        operands = f"{wide} {operand}, ptr align {m.dtype.itemsize} {pointer}, {bools} {mask}"
        self.out.add(f"call void @{intrinsic}({operands}){self.aliases[m.id]}")


def _suffix(m: Memory, lanes: int) -> str:
    name = {"float": "f32", "double": "f64"}.get(memory_element(m.dtype), memory_element(m.dtype))
    return f"v{lanes}{name}"


def _memory(n: Instruction) -> Memory:
    assert n.memory is not None
    return n.memory
