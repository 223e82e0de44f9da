"""Addresses in a GPU's memories as LLVM IR: address spaces, and the swizzle of shared memory."""

from __future__ import annotations

from mlc.codegen.addresses import Addresses, Term
from mlc.codegen.lines import Lines
from mlc.codegen.names import memory_element
from mlc.codegen.nvptx.facts import Ranges
from mlc.ir.kernel import Index, IndexVariable, Memory


class DeviceAddresses(Addresses):
    """Indices in 32 bits where they provably fit, and pointers to elements.

    Those of a swizzled memory go by bytes, whose bits 4.. are xor-ed with bits 7.. as copies of tensor maps and matrix
    units do it: the 16-byte chunks of a line of 128 bytes (or of its halves or quarters) trade places by the number of
    the line, so that 8 rows at one chunk meet in no bank.
    """

    def __init__(self, out: Lines, ranges: Ranges) -> None:
        super().__init__(out)
        self.ranges = ranges
        self.narrow: dict[IndexVariable, str] = {}  # variables that are an i32

    def define(self, variable: IndexVariable, operand: str, kind: str = "i64") -> None:
        super().define(variable, operand, kind)
        if kind == "i32":
            self.narrow[variable] = self.variables.pop(variable)

    def variable(self, variable: IndexVariable, kind: str) -> str:
        """An i32 of a wide variable is its lower half."""
        held = "i32" if variable in self.narrow else "i64"
        operand = self.narrow[variable] if held == "i32" else self.variables[variable]
        if held == kind or not operand.startswith("%"):
            return operand
        change = "trunc" if kind == "i32" else self.extension(Index.of(variable))
        return self.once(self.depths[variable], (kind, variable), f"{change} {held} {operand} to {kind}")

    def index(self, index: Index, kind: str = "i64") -> str:
        if kind == "i64" and index.constant is None and self.is_narrow(index):
            depth = max(d for d, _ in self.by_depth(index))
            return self.once(depth, ("wide", index), f"{self.extension(index)} i32 {self.index(index, 'i32')} to i64")
        return super().index(index, kind)

    def sum(self, terms: tuple[Term, ...], depth: int, kind: str = "i64") -> str:
        index = Index(terms)
        if kind == "i64" and self.is_narrow(index):
            total = super().sum(terms, depth, "i32")
            return self.once(depth, ("wide", index), f"{self.extension(index)} i32 {total} to i64")
        return super().sum(terms, depth, kind)

    def is_narrow(self, index: Index) -> bool:
        """Whether an index of narrow variables is an i32 too; what overflows on the way comes back."""
        return all(v in self.narrow for v in index.variables) and self.ranges.fit(index)

    def are_narrow(self, *indices: Index) -> bool:
        return all(map(self.is_narrow, indices))

    def extension(self, index: Index) -> str:
        return "zext nneg" if self.ranges.of(index)[0] >= 0 else "sext"

    def element(self, memory: Memory, indices: tuple[Index, ...]) -> str:
        if not memory.swizzle:
            return super().element(memory, indices)
        whole, part = self.split(memory, indices)
        return self.swizzled(memory, whole, self.index(part), max((d for d, _ in self.by_depth(part)), default=0))

    def moved(self, memory: Memory, indices: tuple[Index, ...], offset: str) -> str:
        """The element ``offset`` elements behind the one at ``indices``."""
        if memory.swizzle:
            whole, part = self.split(memory, indices)
            return self.swizzled(memory, whole, self.out.let(f"add i64 {self.index(part)}, {offset}"), self.out.depth)
        kind, name = self.pointer_type(memory), memory_element(memory.dtype)
        return self.out.let(f"getelementptr {name}, {kind} {self.element(memory, indices)}, i64 {offset}")

    def split(self, memory: Memory, indices: tuple[Index, ...]) -> tuple[Index, Index]:
        """The offset in elements: what is a multiple of the swizzle's pattern, and the rest."""
        offset = memory.offset(indices)
        pattern = 8 * memory.swizzle // memory.dtype.itemsize
        whole = Index((m, c - c % pattern if not m else c) for m, c in offset.terms if not m or c % pattern == 0)
        return whole, offset - whole

    def swizzled(self, memory: Memory, whole: Index, part: str, depth: int) -> str:
        """A pointer by the operand of an offset in elements, computed at ``depth``, to which ``whole`` is added."""
        size, chunks, kind = memory.dtype.itemsize, memory.swizzle // 16, self.pointer_type(memory)
        place = self.once(depth, ("bytes", part, size), f"mul i64 {part}, {size}")
        line = self.once(depth, ("line", place), f"lshr i64 {place}, 3")  # bits 7.. to bits 4..
        moved = self.once(depth, ("moved", line, chunks), f"and i64 {line}, {(chunks - 1) << 4}")
        final = self.once(depth, ("swizzled", place, chunks), f"xor i64 {place}, {moved}")
        element, pointer = memory_element(memory.dtype), self.bases[memory.id]
        steps = [(depth, "i8", final), *((d, element, self.sum(t, d)) for d, t in self.by_depth(whole))]
        for d, unit, by in sorted(steps):
            pointer = self.once(d, ("step", pointer, unit, by), f"getelementptr {unit}, {kind} {pointer}, i64 {by}")
        constant = whole.constant_term
        return self.out.let(f"getelementptr {element}, {kind} {pointer}, i64 {constant}") if constant else pointer
