"""Kernels to LLVM IR text: finished, vectorised code with explicit FMA, no fast-math and no decisions.

Every function has the machine signature

    void NAME(ptr buffers, ptr sizes, i64 begin, i64 end, ptr scratch)

with one pointer a buffer parameter, one i64 a size, the range of flattened parallel iterations to execute, and this
thread's scratch memory (64-byte aligned).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlc.codegen import values
from mlc.codegen.addresses import Addresses
from mlc.codegen.lines import Lines, Scope
from mlc.codegen.memory import Accesses
from mlc.codegen.names import constant, literal, memory_element, typed
from mlc.errors import InternalError
from mlc.ir.kernel import (
    Index,
    IndexVariable,
    Instruction,
    Kernel,
    Loop,
    Memory,
    Role,
    Statement,
    Value,
    While,
)
from mlc.ir.kernel.machine import MACHINE_OPS
from mlc.ir.kernel.ops import ELEMENTWISE
from mlc.ir.target import Target
from mlc.ir.types import BOOL, U8

_SIGNATURE = "ptr noalias readonly %buffers, ptr noalias readonly %sizes, i64 %begin, i64 %end, ptr noalias %scratch"


def emit_llvm(kernels: Sequence[Kernel], target: Target, suffix: str = "") -> str:
    """One module with a function ``kernel.name + suffix`` for each kernel; kernels are lowered already.

    Raises InternalError for an operation that ``lower_kernel`` should have expanded.
    """
    functions, declarations, metadata = [], {}, _Metadata()
    for kernel in kernels:
        f = _Function(kernel, metadata, target)
        functions.append(f.text(kernel.name + suffix))
        declarations.update(f.out.declarations)
    features = f' "target-features"="{target.features}"' if target.features else ""
    width = f'"prefer-vector-width"="{target.vector_bits}" "min-legal-vector-width"="{target.vector_bits}"'
    attributes = f'attributes #0 = {{ nounwind "target-cpu"="{target.cpu}"{features} {width} }}'
    head = f'target triple = "{target.triple}"'
    return "\n\n".join([head, *functions, "\n".join(declarations.values()), attributes, metadata.text(), ""])


class _Metadata:
    """Numbered metadata of a module: alias scopes, lists of them, and the mark of non-temporal stores."""

    def __init__(self) -> None:
        self.lines = ["!0 = !{i32 1}"]

    def add(self, text: str) -> str:
        """``text`` may name itself as ``SELF``."""
        name = f"!{len(self.lines)}"
        self.lines.append(f"{name} = {text.replace('SELF', name)}")
        return name

    def text(self) -> str:
        return "\n".join(self.lines)


@dataclass
class _Frame:
    """An open loop: labels and operands that its closing needs."""

    body: str
    exit: str
    before: str
    index: str
    following: str
    lower: str
    upper: str
    step: str
    guarded: bool
    phis: list[str]


class _Function:
    def __init__(self, kernel: Kernel, metadata: _Metadata, target: Target) -> None:
        self.kernel = kernel
        self.out = Lines()
        self.addresses = Addresses(self.out)
        self.name = kernel.name
        self.operands: dict[int, str] = {}
        self.frames: list[_Frame] = []
        self.accesses = Accesses(self.out, self.addresses, self.operands, _alias_metadata(kernel, metadata))
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

    def count(self, extent: Index, grain: int) -> str:
        if extent.constant is not None:
            return str(-(-extent.constant // grain))
        operand = self.addresses.index(extent)
        return self.out.let(f"udiv i64 {self.out.let(f'add i64 {operand}, {grain - 1}')}, {grain}")

    def block(self, body: tuple[Statement, ...]) -> None:
        for statement in body:
            if isinstance(statement, Loop):
                self.loop(statement)
            elif isinstance(statement, While):
                self.while_(statement)
            elif isinstance(statement, Role):
                raise InternalError(f"codegen: role {statement.name} is of threads of a block, which no CPU has")
            else:
                self.instruction(statement)

    # Loops are emitted with their test at the end; a test in front only where no iteration is possible.

    def loop(self, loop: Loop) -> None:
        lower, upper = self.addresses.index(loop.lower), self.addresses.index(loop.upper)
        least = (loop.upper - loop.lower).constant
        if least is not None and least <= 0:
            for r, initial in zip(loop.results, loop.initial, strict=True):
                self.operands[r.id] = self.operands[initial.id]
            return
        carried = [(a, self.operands[i.id]) for a, i in zip(loop.arguments, loop.initial, strict=True)]
        index = self.open(lower, upper, str(loop.step), guarded=least is None, carried=carried)
        self.addresses.define(loop.index, index)
        self.block(loop.body)
        self.close([v for _, v in carried], [self.operands[y.id] for y in loop.yields], list(loop.results))

    def while_(self, loop: While) -> None:
        """The test is the loop's head; what it carries keeps its names behind the loop."""
        out, before = self.out, self.out.current_label
        head, body, exit_ = out.fresh("test"), out.fresh("body"), out.fresh("exit")
        initial = [self.operands[v.id] for v in loop.initial]
        names = [out.fresh("carried") for _ in loop.arguments]
        self.operands.update(zip((a.id for a in loop.arguments), names, strict=True))
        out.scopes.append(Scope(label=head))
        self.block(loop.test)
        out.add(f"br i1 {self.operands[loop.condition.id]}, label {body}, label {exit_}")
        out.label(body)
        self.block(loop.body)
        latch, scope = out.current_label, out.scopes.pop()
        out.add(f"br label {head}")
        out.scopes[-1].lines.append(f"{head[1:]}:")
        for name, argument, start, y in zip(names, loop.arguments, initial, loop.yields, strict=True):
            out.add(f"{name} = phi {typed(argument.type)} [ {start}, {before} ], [ {self.operands[y.id]}, {latch} ]")
        out.scopes[-1].lines += scope.lines
        out.add(f"br label {head}")
        out.label(exit_)
        self.operands.update(zip((r.id for r in loop.results), names, strict=True))

    def open(self, lower: str, upper: str, step: str, guarded: bool, carried: Sequence[tuple[Value, str]] = ()) -> str:
        out, before = self.out, self.out.current_label
        body, exit_ = out.fresh("loop"), out.fresh("exit")
        out.scopes.append(Scope(label=body))
        index, following = out.fresh("i"), out.fresh("next")
        phis = [f"{index} = phi i64 [ {lower}, {before} ], [ {following}, LATCH ]"]
        for number, (argument, initial) in enumerate(carried):
            name = out.fresh("carried")
            self.operands[argument.id] = name
            phis.append(f"{name} = phi {typed(argument.type)} [ {initial}, {before} ], [ YIELD{number}., LATCH ]")
        self.frames.append(_Frame(body, exit_, before, index, following, lower, upper, step, guarded, phis))
        return index

    def close(self, initial: list[str], yields: list[str], results: list[Value]) -> None:
        """Splices the body's lines behind what was hoisted before it."""
        out, frame = self.out, self.frames.pop()
        latch, scope = out.current_label, out.scopes.pop()
        self.enter(frame)
        for phi in frame.phis:
            for number, y in enumerate(yields):
                phi = phi.replace(f"YIELD{number}.", y)
            out.add(phi.replace("LATCH", latch))
        out.scopes[-1].lines += scope.lines
        out.add(f"{frame.following} = add nsw i64 {frame.index}, {frame.step}")
        again = out.let(f"icmp slt i64 {frame.following}, {frame.upper}")
        out.add(f"br i1 {again}, label {frame.body}, label {frame.exit}")
        out.label(frame.exit)
        for r, i, y in zip(results, initial, yields, strict=True):
            skipped = f"[ {i}, {frame.before} ], " if frame.guarded else ""
            self.operands[r.id] = out.let(f"phi {typed(r.type)} {skipped}[ {y}, {latch} ]")

    def enter(self, frame: _Frame) -> None:
        out = self.out
        if frame.guarded:
            some = out.let(f"icmp slt i64 {frame.lower}, {frame.upper}")
            out.add(f"br i1 {some}, label {frame.body}, label {frame.exit}")
        else:
            out.add(f"br label {frame.body}")
        out.scopes[-1].lines.append(f"{frame.body[1:]}:")

    # Instructions

    def instruction(self, n: Instruction) -> None:
        if n.op in MACHINE_OPS:
            raise InternalError(f"codegen: {n.op} is an operation of a block of threads, which no CPU has")
        if n.writes_memory:
            self.accesses.write(n)
        elif isinstance(n.result, Value):
            self.operands[n.result.id] = self.accesses.read(n) if n.reads_memory else self.value(n)
        elif n.result is not None:
            self.addresses.define(n.result, self.index_result(n))

    def value(self, n: Instruction) -> str:
        out, result = self.out, n.value.type
        operands = [self.operands[v.id] for v in n.operands]
        types = [v.type for v in n.operands]
        if n.op in ELEMENTWISE:
            return values.elementwise(out, n.op, types[0], operands)
        match n.op, n.attribute:
            case "constant", int() | tuple() as bits:
                return constant(bits, result)
            case "iota", _:
                return values.iota(result)
            case "splat", _:
                return values.splat(out, operands[0], result)
            case "compare", str() as direction:
                return values.compare(out, direction, types[0], operands[0], operands[1])
            case "select", _:
                return values.select(out, operands[0], result, operands[1], operands[2])
            case "convert", _:
                return values.convert(out, operands[0], types[0], result)
            case "bitcast", _:
                return values.bitcast(out, operands[0], types[0], result)
            case "reduce", str() as op:
                return values.reduce(out, op, operands[0], types[0])
            case ("dot2" | "dot4") as op, _:
                return values.dot(out, op, operands[0], operands[1], operands[2], types[0], result)
            case "shuffle", tuple() as lanes:
                return values.shuffle(out, operands[0], operands[1], types[0], lanes)
            case "extract", int() as lane:
                return values.extract(out, operands[0], types[0], lane)
            case "insert", int() as lane:
                return values.insert(out, operands[0], types[0], operands[1], lane)
            case "tail_mask", _:
                start, stop = map(self.addresses.index, n.indices)
                return values.tail_mask(out, start, stop, result.lanes, hide=self.hide_tails)
            case "index_value", _:
                index = self.addresses.index(n.indices[0])
                return index if result.dtype.bits == 64 else out.let(f"trunc i64 {index} to {typed(result)}")
        raise AssertionError(f"{n.op} passed the verifier")

    def index_result(self, n: Instruction) -> str:
        out = self.out
        if n.op == "index_of":
            v = n.operands[0]
            if v.dtype.bits == 64:
                return self.operands[v.id]
            extension = "sext" if v.dtype.kind == "int" else "zext"
            return out.let(f"{extension} {typed(v.type)} {self.operands[v.id]} to i64")
        x, y = map(self.addresses.index, n.indices)
        if n.op in ("min", "max"):
            return out.call("i64", f"llvm.s{n.op}.i64", [("i64", x), ("i64", y)])
        divisor = n.indices[1].constant
        if divisor is not None and divisor & (divisor - 1) == 0:
            if n.op == "mod":
                return out.let(f"and i64 {x}, {divisor - 1}")
            return out.let(f"ashr i64 {x}, {divisor.bit_length() - 1}")
        remainder = out.let(f"srem i64 {x}, {y}")  # of the sign of x; the divisor is positive
        negative = out.let(f"icmp slt i64 {remainder}, 0")
        positive = out.let(f"add i64 {remainder}, {y}")
        modulus = out.let(f"select i1 {negative}, i64 {positive}, i64 {remainder}")
        if n.op == "mod":
            return modulus
        return out.let(f"sdiv i64 {out.let(f'sub i64 {x}, {modulus}')}, {y}")


def _stores_narrow(kernel: Kernel) -> bool:
    """Whether results may be truncated as they are stored.

    LLVM 22.1 stores such a vector in its wide type, over what lies behind, where it knows that the mask has one lane
    (llvm-project issue 179489, AVX-512 only): masks of these kernels are kept from it.
    """
    return any(memory_element(m.dtype) in ("i8", "i16", "i32") for m in kernel.buffers if m.access != "read")


def _alias_metadata(kernel: Kernel, metadata: _Metadata) -> dict[int, str]:
    """For each memory the metadata of its accesses: its own scope if it is noalias, and all such scopes but that."""
    alone = [m for m in kernel.memories if m.noalias]
    if not alone:
        return {m.id: "" for m in kernel.memories}
    domain = metadata.add("distinct !{SELF}")
    scopes = {m.id: metadata.add(f"distinct !{{SELF, {domain}}}") for m in alone}
    result = {}
    for m in kernel.memories:
        text = f", !alias.scope {metadata.add(f'!{{{scopes[m.id]}}}')}" if m.noalias else ""
        others = [s for i, s in scopes.items() if i != m.id]
        if others:
            text += f", !noalias {metadata.add('!{' + ', '.join(others) + '}')}"
        result[m.id] = text
    return result
