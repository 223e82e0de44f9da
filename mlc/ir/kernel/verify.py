"""Checks the constraints of the kernel language and names the one that is broken."""

from __future__ import annotations

from mlc.errors import VerifyError
from mlc.ir.types import BOOL

from .data import Instruction, Kernel, Loop, Memory, Role, Statement, Value, VectorType, While
from .index import Index, IndexVariable
from .machine import MACHINE_OPS, check_machine_op
from .ops import ACCESSES, INDEX_OPS, OPS, SOURCES, result_type
from .uniform import divergent_barrier


def verify_kernel(kernel: Kernel) -> None:
    """Raises VerifyError where a kernel breaks a constraint; the message ends with the statement."""
    _Verifier(kernel).run()


class KernelError(VerifyError):
    """A broken constraint, and the statement that breaks it where there is one."""

    def __init__(self, message: str, where: Statement | None) -> None:
        super().__init__(message)
        self.where = where


class _Verifier:
    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.values: dict[int, Value] = {}
        self.defined: set[int] = set()
        self.variables = {IndexVariable("n", k) for k in range(kernel.sizes)}
        self.axes: dict[IndexVariable, Index] = {}
        self.memories = {m.id: m for m in kernel.memories}

    def run(self) -> None:
        k = self.kernel
        self.need(len(self.memories) == len(k.memories), "two memories have one id", None)
        for m in k.memories:
            self.need(len(m.shape) == len(m.strides), f"{m.name}: rank of strides differs from rank of shape", None)
            for n in m.shape + m.strides:
                self.index(n, None)
            self.memory(m)
        for extent, grain in zip(k.extents, k.grains, strict=True):
            self.index(extent, None)
            self.need(grain >= 1, f"parallel: grain {grain} is not positive", None)
        for i in k.indices:
            self.define_variable(i, None)
        self.need(0 <= k.threads <= len(k.indices), f"parallel: {k.threads} axes of a block", None)
        blocks = len(k.indices) - k.threads
        self.axes = dict(zip(k.indices[blocks:], k.extents[blocks:], strict=True))
        for i, extent in self.axes.items():
            grain = k.grains[k.indices.index(i)]
            fits = extent.constant is not None and grain == 1
            self.need(fits, f"parallel: block axis {i} = {extent} by {grain} is not a static number by 1", None)
        self.need(not k.shared or k.threads > 0, "shared memory without the axes of a block", None)
        self.block(k.body)
        divergent = divergent_barrier(k) if k.threads else None
        self.need(divergent is None, "a barrier that threads would pass a different number of times", divergent)

    def memory(self, m: Memory) -> None:
        where = f"{m.access} {m.name}"
        if m in self.kernel.buffers:
            self.need(m.space in ("global", "const", "tensor_map"), f"{where}: no such space {m.space}", None)
            self.need(m.space == "global" or m.access == "read", f"{where}: a {m.space} buffer is read only", None)
            boxed = len(m.box) == len(m.shape) and all(n > 0 for n in m.box) if m.space == "tensor_map" else not m.box
            self.need(boxed, f"{where}: a tensor map, and nothing else, has a box of its rank", None)
        else:
            self.need(all(n.constant is not None for n in m.shape), f"{where}: its shape is not static", None)
            filled = len(m.data) == (m.static_size if m.access == "table" else 0)
            self.need(filled, f"{where}: {len(m.data)} numbers for {m.static_size} elements", None)
        if m.swizzle:
            may = m.access == "shared" or m.space == "tensor_map"
            self.need(may and m.swizzle in (32, 64, 128), f"{where}: swizzle {m.swizzle} is none of 32, 64, 128", None)
            last = m.box[-1] if m.box else (m.shape[-1].constant or 0 if m.shape else 0)
            fits = last * m.dtype.itemsize % m.swizzle == 0
            self.need(fits, f"{where}: rows are no multiple of {m.swizzle} bytes", None)

    def block(self, body: tuple[Statement, ...]) -> None:
        for s in body:
            if isinstance(s, Loop):
                self.loop(s)
            elif isinstance(s, While):
                self.while_(s)
            elif isinstance(s, Role):
                self.role(s)
            else:
                self.instruction(s)

    def loop(self, loop: Loop) -> None:
        self.index(loop.lower, loop)
        self.index(loop.upper, loop)
        self.need(loop.step >= 1, f"step {loop.step} is not positive", loop)
        self.need(loop.unroll >= 0, f"unroll {loop.unroll} is negative", loop)
        self.carried(loop)
        values, variables = dict(self.values), set(self.variables)  # what the body defines ends with it
        self.define_variable(loop.index, loop)
        for a in loop.arguments:
            self.define(a, loop)
        self.block(loop.body)
        for y in loop.yields:
            self.use(y, loop)
        self.values, self.variables = values, variables
        for r in loop.results:
            self.define(r, loop)

    def carried(self, loop: Loop | While) -> None:
        counts = {len(loop.initial), len(loop.arguments), len(loop.yields), len(loop.results)}
        self.need(len(counts) == 1, "carried values, arguments, yields and results differ in number", loop)
        for initial, argument, y, result in zip(loop.initial, loop.arguments, loop.yields, loop.results, strict=True):
            self.use(initial, loop)
            self.need(
                initial.type == argument.type == y.type == result.type,
                f"a carried {initial.type} is argument {argument.type}, yields {y.type}, results in {result.type}",
                loop,
            )

    def while_(self, loop: While) -> None:
        self.carried(loop)
        outside, variables = dict(self.values), set(self.variables)
        for a in loop.arguments:
            self.define(a, loop)
        inside = dict(self.values)
        self.block(loop.test)
        self.use(loop.condition, loop)
        self.need(loop.condition.type == VectorType(BOOL), f"condition {loop.condition.type} is no bool", loop)
        self.values, self.variables = inside, set(variables)  # what the test computes ends with it
        self.block(loop.body)
        for y in loop.yields:
            self.use(y, loop)
        self.values, self.variables = outside, variables
        for r in loop.results:
            self.define(r, loop)

    def role(self, role: Role) -> None:
        extent = self.axes.get(role.index)
        if extent is None:
            raise KernelError(f"role {role.name}: {role.index} is no axis of a block\n  in {self.text(role)}", role)
        inside = 0 <= role.first < role.last <= (extent.constant or 0)
        self.need(inside, f"role {role.name}: threads {role.first} to {role.last} of {extent}", role)
        fits = role.registers == 0 or (role.registers % 8 == 0 and 24 <= role.registers <= 240)
        self.need(fits, f"role {role.name}: {role.registers} registers: a multiple of 8 from 24 to 240", role)
        values, variables = dict(self.values), set(self.variables)
        self.block(role.body)
        self.values, self.variables = values, variables

    def instruction(self, n: Instruction) -> None:
        self.need(n.op in OPS, f"{n.op}: no such operation", n)
        for v in n.operands:
            self.use(v, n)
        for i in n.indices + n.source_indices:
            self.index(i, n)
        if n.op in ACCESSES:
            self.access(n)
        elif n.op in MACHINE_OPS:
            self.machine(n)
        elif n.op in INDEX_OPS:
            self.need(len(n.indices) == 2 and not n.operands, f"{n.op}: takes two indices", n)
        elif n.op == "index_of":
            self.need(len(n.operands) == 1, "index_of: takes one operand", n)
            v = n.operands[0]
            self.need(v.dtype.is_integer and v.lanes == 1, f"index_of: {v.type} is no integer scalar", n)
        else:
            self.value(n)
        if isinstance(n.result, Value):
            self.define(n.result, n)
        elif n.result is not None:
            self.need(n.op in INDEX_OPS or n.op == "index_of", f"{n.op}: its result is an index", n)
            self.define_variable(n.result, n)

    def value(self, n: Instruction) -> None:
        self.need(isinstance(n.result, Value), f"{n.op}: needs a value as result", n)
        indices = {"tail_mask": 2, "index_value": 1}.get(n.op, 0)
        self.need(len(n.indices) == indices, f"{n.op}: takes {indices} indices", n)
        self.need(n.op not in SOURCES or not n.operands, f"{n.op}: takes no operands", n)
        try:
            t = result_type(n.op, [v.type for v in n.operands], n.attribute, n.value.type)
        except VerifyError as error:
            raise KernelError(f"{error.message}\n  in {self.text(n)}", n) from None
        self.need(t == n.value.type, f"{n.op}: result is {t}, declared {n.value.type}", n)
        if n.op == "constant":
            bits = n.attribute if isinstance(n.attribute, tuple) else (n.attribute,) * t.lanes
            self.need(len(bits) == t.lanes, f"constant: {len(bits)} numbers for {t.lanes} lanes", n)
            fits = all(isinstance(b, int) and 0 <= b < 1 << t.dtype.bits for b in bits)
            self.need(fits, f"constant: bits do not fit {t.dtype}", n)

    def machine(self, n: Instruction) -> None:
        for m in (n.memory, n.source):
            self.need(m is None or self.memories.get(m.id) == m, f"{n.op}: its memory is not the kernel's", n)
        self.need(bool(self.axes), f"{n.op}: needs the axes of a block", n)
        try:
            check_machine_op(n)
        except VerifyError as error:
            raise KernelError(f"{error.message}\n  in {self.text(n)}", n) from None

    def access(self, n: Instruction) -> None:
        m = n.memory
        if m is None or self.memories.get(m.id) != m:
            raise KernelError(f"{n.op}: its memory is not the kernel's\n  in {self.text(n)}", n)
        reads = n.reads_memory
        least = (not reads) + (n.op in ("gather", "scatter"))
        self.need(least <= len(n.operands) <= least + 1, f"{n.op}: wrong number of operands", n)
        self.need(reads == isinstance(n.result, Value), f"{n.op}: wrong result", n)
        accessed, offsets = n.accessed, n.offsets
        self.need(accessed.dtype == m.dtype, f"{n.op}: {accessed} of memory of {m.dtype}", n)
        self.need(m.access != ("write" if reads else "read"), f"{n.op}: {m.name} is {m.access}-only", n)
        self.need(reads or m.access != "table", f"{n.op}: {m.name} is a table", n)
        self.need(m.space != "tensor_map", f"{n.op}: {m.name} is a tensor map, which only copies read", n)
        self.need(len(n.indices) == len(m.shape), f"{n.op}: {len(n.indices)} indices for rank {len(m.shape)}", n)
        if offsets is None:
            contiguous = accessed.lanes == 1 or (bool(m.strides) and m.strides[-1].constant == 1)
            self.need(contiguous, f"{n.op}: {accessed.lanes} lanes of {m.name}, whose last stride is not 1", n)
        else:
            fits = offsets.dtype.is_integer and offsets.lanes == accessed.lanes
            self.need(fits, f"{n.op}: offsets {offsets.type} for {accessed}", n)
            self.need(bool(m.shape), f"{n.op}: {m.name} has no axis to move along", n)
        streamed = n.attribute == "nontemporal"
        self.need(n.attribute is None or (n.op == "store" and streamed), f"{n.op}: no such kind {n.attribute}", n)
        self.need(not streamed or n.mask is None, "store: a nontemporal store has no mask", n)
        if n.mask is not None:
            fits = n.mask.type == VectorType(BOOL, accessed.lanes)
            self.need(fits, f"{n.op}: mask {n.mask.type} for {accessed}", n)

    def index(self, index: Index, where: Statement | None) -> None:
        for v in index.variables:
            self.need(v in self.variables, f"index variable {v} is not visible here", where)

    def use(self, v: Value, where: Statement) -> None:
        self.need(self.values.get(v.id) == v, f"value {v.id} of type {v.type} is not visible here", where)

    def define(self, v: Value, where: Statement) -> None:
        self.need(v.id not in self.defined, f"value {v.id} is defined twice", where)
        self.need(v.lanes >= 1, f"value {v.id} has {v.lanes} lanes", where)
        self.defined.add(v.id)
        self.values[v.id] = v

    def define_variable(self, v: IndexVariable, where: Statement | None) -> None:
        self.need(v.id not in self.defined, f"index variable {v} is defined twice", where)
        self.defined.add(v.id)
        self.variables.add(v)

    def need(self, condition: bool, message: str, where: Statement | None) -> None:
        if not condition:
            raise KernelError(message + ("" if where is None else f"\n  in {self.text(where)}"), where)

    def text(self, where: Statement) -> str:
        name = f"{self.kernel.name}: "
        if isinstance(where, Loop):
            return f"{name}loop {where.index} = {where.lower} to {where.upper} step {where.step}"
        if isinstance(where, While):
            return f"{name}while"
        if isinstance(where, Role):
            return f"{name}role {where.name}"
        operands = ", ".join(f"v{v.id}: {v.type}" for v in where.operands)
        return f"{name}{where.op} ({operands}) {list(where.indices)}"
