"""Addresses in a GPU's memories as LLVM IR: address spaces, and the swizzle of shared memory."""

from __future__ import annotations

from mlc.codegen.addresses import Addresses
from mlc.codegen.names import memory_element
from mlc.ir.kernel import Index, Memory


class DeviceAddresses(Addresses):
    """Pointers to elements; those of a swizzled memory go by bytes, whose bits 4.. are xor-ed with bits 7..

    That is what copies of tensor maps and matrix units do too: the 16-byte chunks of a line of 128 bytes (or of its
    halves or quarters) trade places by the number of the line, so that 8 rows at one chunk meet in no bank.
    """

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
        offset = Index.of(0)
        for index, stride in zip(indices, memory.strides, strict=True):
            offset = offset + index * stride
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
        constant = whole.terms[-1][1] if whole.terms and not whole.terms[-1][0] else 0
        return self.out.let(f"getelementptr {element}, {kind} {pointer}, i64 {constant}") if constant else pointer
