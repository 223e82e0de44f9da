"""Kernels to LLVM IR text: finished, vectorised code with explicit FMA, no fast-math and no decisions.

Every function has the machine signature

    void NAME(ptr buffers, ptr sizes, i64 begin, i64 end, ptr scratch)

with one pointer a buffer parameter, one i64 a size, the range of flattened parallel iterations to execute, and this
thread's scratch memory (64-byte aligned).
"""

from __future__ import annotations

from collections.abc import Sequence

from mlc.codegen import values
from mlc.codegen.addresses import Addresses
from mlc.codegen.body import Body
from mlc.codegen.lines import Lines
from mlc.codegen.memory import Accesses
from mlc.codegen.metadata import Metadata, alias_metadata
from mlc.codegen.names import literal, memory_element
from mlc.ir.kernel import (
    IndexVariable,
    Instruction,
    Kernel,
    Memory,
)
from mlc.ir.target import Target
from mlc.ir.types import BOOL, U8

_SIGNATURE = "ptr noalias readonly %buffers, ptr noalias readonly %sizes, i64 %begin, i64 %end, ptr noalias %scratch"


def emit_llvm(kernels: Sequence[Kernel], target: Target, suffix: str = "") -> str:
    """One module with a function ``kernel.name + suffix`` for each kernel; kernels are lowered already.

    Raises InternalError for an operation that ``lower_kernel`` should have expanded.
    """
    functions, declarations, metadata = [], {}, Metadata()
    for kernel in kernels:
        f = _Function(kernel, metadata, target)
        functions.append(f.text(kernel.name + suffix))
        declarations.update(f.out.declarations)
    features = f' "target-features"="{target.features}"' if target.features else ""
    width = f'"prefer-vector-width"="{target.vector_bits}" "min-legal-vector-width"="{target.vector_bits}"'
    attributes = f'attributes #0 = {{ nounwind "target-cpu"="{target.cpu}"{features} {width} }}'
    head = f'target triple = "{target.triple}"'
    return "\n\n".join([head, *functions, "\n".join(declarations.values()), attributes, metadata.text(), ""])


class _Function(Body):
    def __init__(self, kernel: Kernel, metadata: Metadata, target: Target) -> None:
        out = Lines()
        addresses = Addresses(out)
        super().__init__(kernel, out, addresses, Accesses(out, addresses, {}, alias_metadata(kernel, metadata)))
        self.name = kernel.name
        self.hide_tails = target.vector_bits == 512 and _stores_narrow(kernel)

    def text(self, name: str) -> str:
        self.name = name
        self.prologue()
        self.parallel()
        self.out.add("ret void")
        lines = "\n".join(self.out.scopes[0].lines)
        tables = "".join(self.table(number, m) for number, m in enumerate(self.kernel.tables))
        return f'{tables}define void @"{name}"({_SIGNATURE}) #0 {{\nentry:\n{lines}\n}}'

    def table(self, number: int, m: Memory) -> str:
        element = memory_element(m.dtype)
        stored = U8 if m.dtype == BOOL else m.dtype
        numbers = ", ".join(f"{element} {literal(b, stored)}" for b in m.data)
        kind = f"[{len(m.data)} x {element}]"
        return f'@"{self.name}.table{number}" = private unnamed_addr constant {kind} [{numbers}], align 64\n'

    def prologue(self) -> None:
        k, out = self.kernel, self.out
        for number, m in enumerate(k.buffers):
            slot = out.let(f"getelementptr ptr, ptr %buffers, i64 {number}")
            self.addresses.bases[m.id] = out.let(f"load ptr, ptr {slot}, align 8")
        for m, offset in zip(k.scratches, k.scratch_offsets, strict=True):
            self.addresses.bases[m.id] = out.let(f"getelementptr i8, ptr %scratch, i64 {offset}")
        for number, m in enumerate(k.tables):
            self.addresses.bases[m.id] = f'@"{self.name}.table{number}"'
        for number in range(k.sizes):
            slot = out.let(f"getelementptr i64, ptr %sizes, i64 {number}")
            self.addresses.define(IndexVariable("n", number), out.let(f"load i64, ptr {slot}, align 8"))

    def parallel(self) -> None:
        """Iterations ``begin .. end`` of the flattened nest; each index is the remainder by its count."""
        k, out = self.kernel, self.out
        counts = [self.count(e, g) for e, g in zip(k.extents[1:], k.grains[1:], strict=True)]
        flat = self.open("%begin", "%end", "1", guarded=True)
        for variable, count in zip(k.indices[:0:-1], reversed(counts), strict=True):
            if count == "1":
                self.addresses.define(variable, "0")
                continue
            self.addresses.define(variable, out.let(f"urem i64 {flat}, {count}"))
            flat = out.let(f"udiv i64 {flat}, {count}")
        if k.indices:
            self.addresses.define(k.indices[0], flat)
        self.block(k.body)
        self.close([], [], [])
        if self.accesses.fences:  # non-temporal stores become visible before the caller goes on
            out.declarations["sfence"] = "declare void @llvm.x86.sse.sfence()"
            out.add("call void @llvm.x86.sse.sfence()")

    def dot(self, n: Instruction) -> str:
        x, y, total = (self.operands[v.id] for v in n.operands)
        return values.dot(self.out, n.op, x, y, total, n.operands[0].type, n.value.type)

    def tail_mask(self, start: str, stop: str, lanes: int) -> str:
        return values.tail_mask(self.out, start, stop, lanes, hide=self.hide_tails)


def _stores_narrow(kernel: Kernel) -> bool:
    """Whether results may be truncated as they are stored.

    LLVM 22.1 stores such a vector in its wide type, over what lies behind, where it knows that the mask has one lane
    (llvm-project issue 179489, AVX-512 only): masks of these kernels are kept from it.
    """
    return any(memory_element(m.dtype) in ("i8", "i16", "i32") for m in kernel.buffers if m.access != "read")
