"""Kernel to text: values, loop indices and computed indices numbered in order of appearance."""

from __future__ import annotations

import re

from ..bits import print_bits
from .data import Instruction, Kernel, Loop, Memory, Role, Statement, Value, While
from .index import Index, IndexVariable


def print_kernel(kernel: Kernel, canonical: bool = False) -> str:
    """The text of a kernel; ``parse_kernel`` reads it back. With ``canonical``, names are numbers.

    Numbering follows the text, so kernels that differ only in ids print alike.
    """
    return _Printer(kernel, canonical).run()


class _Printer:
    def __init__(self, kernel: Kernel, canonical: bool) -> None:
        self.kernel = kernel
        self.canonical = canonical
        self.values: dict[int, str] = {}
        self.variables: dict[IndexVariable, Index] = {}
        self.counts = {"v": 0, "i": 0, "q": 0}
        self.memories: dict[int, str] = {}
        self.lines: list[str] = []

    def run(self) -> str:
        k = self.kernel
        self.name_memories()
        self.lines.append(f"kernel @{'kernel' if self.canonical else k.name} sizes {k.sizes} {{")
        for m in k.buffers:
            extra = " noalias" if m.noalias else ""
            text = f"{self.memories[m.id]} {self.layout(m)} {m.access}{extra}{self.details(m)}"
            self.lines.append(f"  buffer {text}")
        for m in k.scratches + k.shared + k.tables:
            self.lines.append(f"  {m.access} {self.memories[m.id]} {m.dtype}[{self.join(m.shape)}]{self.details(m)}")
        blocks = len(k.indices) - k.threads
        nest = [
            f"{self.define_index(i)} = {self.index(extent)} by {grain}{' block' if number >= blocks else ''}"
            for number, (i, extent, grain) in enumerate(zip(k.indices, k.extents, k.grains, strict=True))
        ]
        self.lines.append(f"  parallel ({', '.join(nest)}) {{")
        self.block(k.body, "    ")
        self.lines += ["  }", "}", ""]
        return "\n".join(self.lines)

    def name_memories(self) -> None:
        taken: set[str] = set()
        for m in self.kernel.memories:
            name = re.sub(r"\W", "_", m.name, flags=re.ASCII) or "_"
            if self.canonical:
                name = "b"
            if self.canonical or not re.match(r"[A-Za-z_]", name) or re.fullmatch(r"[inq]\d+", name) or name in taken:
                number = len(self.memories)
                while f"{name}_{number}" in taken or not re.match(r"[A-Za-z_]", f"{name}_{number}"):
                    name = "_" + name
                name = f"{name}_{number}"
            taken.add(name)
            self.memories[m.id] = f"%{name}"

    def layout(self, m: Memory) -> str:
        return f"{m.dtype}[{self.join(m.shape)}] strides [{self.join(m.strides)}]"

    def details(self, m: Memory) -> str:
        text = "" if m.space == "global" else f" {m.space}"
        text += f" box [{', '.join(map(str, m.box))}]" if m.box else ""
        text += f" swizzle {m.swizzle}" if m.swizzle else ""
        return text + (f" [{', '.join(print_bits(b, m.dtype) for b in m.data)}]" if m.access == "table" else "")

    def block(self, body: tuple[Statement, ...], indent: str) -> None:
        for statement in body:
            if isinstance(statement, Loop):
                self.loop(statement, indent)
            elif isinstance(statement, While):
                self.while_(statement, indent)
            elif isinstance(statement, Role):
                self.role(statement, indent)
            else:
                self.lines.append(indent + self.instruction(statement))

    def loop(self, loop: Loop, indent: str) -> None:
        bounds = f"{self.index(loop.lower)} to {self.index(loop.upper)} step {loop.step}"
        initial = [self.value(v) for v in loop.initial]
        results = ", ".join(self.define(v) for v in loop.results)
        head = f"loop {self.define_index(loop.index)} = {bounds}"
        if loop.unroll != 1:
            head += f" unroll {loop.unroll or 'full'}"
        if loop.arguments:
            carried = (f"{self.define(a)} = {v}: {a.type}" for a, v in zip(loop.arguments, initial, strict=True))
            head = f"{results} = {head} carry ({', '.join(carried)})"
        self.lines.append(f"{indent}{head} {{")
        self.block(loop.body, indent + "  ")
        if loop.yields:
            self.lines.append(f"{indent}  yield {', '.join(self.value(v) for v in loop.yields)}")
        self.lines.append(f"{indent}}}")

    def while_(self, loop: While, indent: str) -> None:
        initial = [self.value(v) for v in loop.initial]
        results = ", ".join(self.define(v) for v in loop.results)
        carried = (f"{self.define(a)} = {v}: {a.type}" for a, v in zip(loop.arguments, initial, strict=True))
        head = f"while carry ({', '.join(carried)})" if loop.arguments else "while"
        self.lines.append(f"{indent}{results}{' = ' if results else ''}{head} {{")
        self.block(loop.test, indent + "  ")
        self.lines += [f"{indent}  condition {self.value(loop.condition)}", f"{indent}}} do {{"]
        self.block(loop.body, indent + "  ")
        if loop.yields:
            self.lines.append(f"{indent}  yield {', '.join(self.value(v) for v in loop.yields)}")
        self.lines.append(f"{indent}}}")

    def role(self, role: Role, indent: str) -> None:
        registers = f" registers {role.registers}" if role.registers else ""
        axis = self.index(Index.of(role.index))
        self.lines.append(f"{indent}role.{role.name} {axis} in {role.first} to {role.last}{registers} {{")
        self.block(role.body, indent + "  ")
        self.lines.append(f"{indent}}}")

    def instruction(self, n: Instruction) -> str:
        text = n.op + self.attribute(n)
        if n.memory is not None:
            text += f" {self.memories[n.memory.id]}[{self.join(n.indices)}]"
        elif n.indices:
            text += f" ({self.join(n.indices)})"
        if n.source is not None:
            word = "with" if n.op == "mma_async" else "from"
            text += f" {word} {self.memories[n.source.id]}[{self.join(n.source_indices)}]"
        if n.operands:
            text += " " + ", ".join(self.value(v) for v in n.operands)
        if isinstance(n.result, Value):
            return f"{self.define(n.result)} = {text} : {n.result.type}"
        return text if n.result is None else f"{self.define_index(n.result)} = {text}"

    def attribute(self, n: Instruction) -> str:
        if n.attribute is None:
            return ""
        if isinstance(n.attribute, str):
            return f".{n.attribute}"
        numbers = n.attribute if isinstance(n.attribute, tuple) else (n.attribute,)
        if n.op == "constant":
            return f"[{', '.join(print_bits(b, n.value.dtype) for b in numbers)}]"
        return f"[{', '.join(map(str, numbers))}]"

    def join(self, indices: tuple[Index, ...]) -> str:
        return ", ".join(self.index(i) for i in indices)

    def index(self, index: Index) -> str:
        """Terms are ordered by the numbers printed, not by the ids in memory."""
        return repr(index.substitute(self.variables))

    def define_index(self, v: IndexVariable) -> str:
        numbered = IndexVariable(v.kind, self.counts[v.kind])
        self.counts[v.kind] += 1
        self.variables[v] = Index.of(numbered)
        return repr(numbered)

    def define(self, v: Value) -> str:
        self.values[v.id] = f"%{self.counts['v']}"
        self.counts["v"] += 1
        return self.values[v.id]

    def value(self, v: Value) -> str:
        return self.values.get(v.id, f"%?{v.id}")
