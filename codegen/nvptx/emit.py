"""Kernels to LLVM IR text for NVPTX: finished, with explicit FMA, no fast-math and no decisions.

Every kernel is an entry

    .entry NAME(buffers.., sizes..)

with a 64-bit pointer to global memory for each buffer (the 128 bytes of a descriptor for a tensor map) and a 64-bit
integer for each size. Grid and block have one dimension: the axes of the parallel nest that are not of the block are
taken from ``ctaid.x``, those of the block from ``tid.x``, in both the last fastest. Shared memory is the kernel's own
up to 48 KB; what is larger is given at launch, all of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mlc.codegen import values
from mlc.codegen.body import Body
from mlc.codegen.lines import Lines, Scope
from mlc.codegen.metadata import Metadata, alias_metadata
from mlc.codegen.names import constant, literal, mangled, memory_element, typed
from mlc.codegen.nvptx import machine
from mlc.codegen.nvptx.addresses import DeviceAddresses
from mlc.codegen.nvptx.facts import Divisors, Ranges
from mlc.codegen.nvptx.hopper import Hopper, check_has
from mlc.codegen.nvptx.intrinsics import check_intrinsics
from mlc.codegen.nvptx.matrix import Matrices
from mlc.codegen.nvptx.memory import DeviceAccesses
from mlc.errors import InternalError, UnsupportedError
from mlc.ir.kernel import Index, IndexVariable, Instruction, Kernel, Loop, Memory, Role, Value, VectorType
from mlc.ir.target import GpuTarget
from mlc.ir.types import BF16, BOOL, F16, F32, I32, U8

_NAME = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_DIVISIONS = {"floordiv": "udiv", "mod": "urem"}  # of what is not negative
_GLOBAL, _SHARED = "ptr addrspace(1)", "ptr addrspace(3)"


def emit_module(kernels: Sequence[Kernel], target: GpuTarget) -> str:
    """One module with an entry for each kernel; kernels are lowered already.

    Raises InternalError for an operation that ``lower_kernel`` should have expanded, UnsupportedError for a kernel
    that asks for more than the target has.
    """
    functions, declarations, metadata, attributes = [], {}, Metadata(), []
    for number, kernel in enumerate(kernels):
        _check(kernel, target)
        f = _Function(kernel, metadata, target)
        functions.append(f.text(number))
        declarations.update(f.out.declarations)
        attributes.append(f"attributes #{number} = {{ nounwind {_launch_bounds(kernel)} }}")
    head = f'target triple = "{target.triple}"'
    if any(k.dynamic_shared_bytes for k in kernels):
        head += "\n@mlc_dynamic_shared = external addrspace(3) global [0 x i8], align 1024"
    parts = [head, *functions, "\n".join(declarations.values()), "\n".join(attributes), metadata.text(), ""]
    text = "\n\n".join(parts)
    check_intrinsics(text, target)
    return text


def _launch_bounds(kernel: Kernel) -> str:
    """One block of a multiprocessor is enough: without it, `ptxas` would rather spill than have one block less."""
    return f'"nvvm.reqntid"="{kernel.block_threads},1,1" "nvvm.minctasm"="1"'


def _check(kernel: Kernel, target: GpuTarget) -> None:
    threads = kernel.block_threads
    if _NAME.fullmatch(kernel.name) is None:
        raise InternalError(f"codegen: {kernel.name!r} is no name of PTX")
    if threads > target.max_threads:
        raise UnsupportedError(
            f"{kernel.name}: blocks of {threads} threads; {target.name} has {target.max_threads}",
            hint="give the block axes of the kernel smaller extents",
        )
    if kernel.shared_bytes > target.shared_bytes:
        raise UnsupportedError(
            f"{kernel.name}: {kernel.shared_bytes} bytes of shared memory; a block of {target.name} has "
            f"{target.shared_bytes}",
            hint="choose smaller tiles or fewer stages",
        )


class _Function(Body):
    def __init__(self, kernel: Kernel, metadata: Metadata, target: GpuTarget) -> None:
        out = Lines()
        addresses = DeviceAddresses(out, Ranges(kernel))
        aliases = alias_metadata(kernel, metadata)
        accesses = DeviceAccesses(out, addresses, aliases, Divisors(kernel))
        super().__init__(kernel, out, addresses, accesses)
        self.accesses: DeviceAccesses = accesses
        self.addresses: DeviceAddresses = addresses
        self.target = target
        self.globals: list[str] = []
        self.matrices = Matrices(kernel, accesses)
        self.hopper = Hopper(addresses, self.operands)

    def text(self, number: int) -> str:
        self.memories()
        self.parallel()
        self.block(self.kernel.body)
        self.out.add("ret void")
        lines = "\n".join(self.out.scopes[0].lines)
        signature = ", ".join([*map(self.parameter, range(len(self.kernel.buffers))), *self.sizes()])
        head = "".join(f"{line}\n" for line in self.globals)
        return f"{head}define ptx_kernel void @{self.kernel.name}({signature}) #{number} {{\nentry:\n{lines}\n}}"

    # What the entry is given

    def parameter(self, number: int) -> str:
        m = self.kernel.buffers[number]
        if m.space == "tensor_map":
            return f'ptr byval([128 x i8]) align 64 "nvvm.grid_constant" %buffer.{number}'
        marks = " noalias" if m.noalias or m.space == "const" else ""
        marks += " readonly" if m.access == "read" else ""
        return f"{_GLOBAL}{marks} align 16 %buffer.{number}"

    def sizes(self) -> list[str]:
        return [f"i64 %size.{k}" for k in range(self.kernel.sizes)]

    def memories(self) -> None:
        k, addresses = self.kernel, self.addresses
        for number, m in enumerate(k.buffers):
            addresses.bases[m.id] = f"%buffer.{number}"
            addresses.spaces[m.id] = "ptr" if m.space == "tensor_map" else _GLOBAL
        for number, m in enumerate(k.tables):
            addresses.bases[m.id], addresses.spaces[m.id] = self.table(number, m), _GLOBAL
        for number, m in enumerate(k.scratches):
            addresses.bases[m.id] = f"%scratch.{number}"
            self.out.add(f"%scratch.{number} = alloca [{m.static_size} x {memory_element(m.dtype)}], align 16")
        for number, (m, offset) in enumerate(zip(k.shared, k.shared_offsets, strict=True)):
            addresses.bases[m.id], addresses.spaces[m.id] = self.shared(number, m, offset), _SHARED
        for number in range(k.sizes):
            addresses.define(IndexVariable("n", number), f"%size.{number}")

    def table(self, number: int, m: Memory) -> str:
        element, name = memory_element(m.dtype), f"@{self.kernel.name}_table{number}"
        numbers = ", ".join(f"{element} {literal(b, U8 if m.dtype == BOOL else m.dtype)}" for b in m.data)
        kind = f"[{len(m.data)} x {element}]"
        self.globals.append(f"{name} = internal addrspace(1) constant {kind} [{numbers}], align 16")
        return name

    def shared(self, number: int, m: Memory, offset: int) -> str:
        if self.kernel.dynamic_shared_bytes:
            return self.out.let(f"getelementptr i8, {_SHARED} @mlc_dynamic_shared, i64 {offset}")
        name, align = f"@{self.kernel.name}_shared{number}", max(128, 8 * m.swizzle)
        kind = f"[{m.static_size} x {memory_element(m.dtype)}]"
        self.globals.append(f"{name} = internal addrspace(3) global {kind} poison, align {align}")
        return name

    # The parallel nest

    def parallel(self) -> None:
        k = self.kernel
        blocks = len(k.indices) - k.threads
        self.take_apart("ctaid.x", k.indices[:blocks], [self.blocks_along(d) for d in range(1, blocks)])
        counts = [str(e.constant) for e in k.extents[blocks:]]
        self.take_apart("tid.x", k.indices[blocks:], counts[1:])

    def take_apart(self, register: str, indices: Sequence[IndexVariable], counts: Sequence[str]) -> None:
        """Defines indices by a flat number of 32 bits; ``counts`` are those of all but the first."""
        if not indices:
            return
        out = self.out
        flat = out.call("i32", f"llvm.nvvm.read.ptx.sreg.{register}", [])
        for variable, count in zip(indices[:0:-1], reversed(counts), strict=True):
            rest = out.let(f"urem i32 {flat}, {count}") if count != "1" else "0"
            self.addresses.define(variable, rest, "i32")
            flat = out.let(f"udiv i32 {flat}, {count}") if count != "1" else flat
        self.addresses.define(indices[0], flat, "i32")

    def blocks_along(self, axis: int) -> str:
        """The blocks along an axis, as an i32: all of them together are fewer than 2**31."""
        extent, grain = self.kernel.extents[axis], self.kernel.grains[axis]
        if extent.constant is not None:
            return str(max(1, -(-extent.constant // grain)))
        operand = self.addresses.index(extent)
        if grain > 1:
            operand = self.out.let(f"add i64 {operand}, {grain - 1}")
            operand = self.out.let(f"udiv i64 {operand}, {grain}")
        return self.out.let(f"trunc i64 {operand} to i32")

    # Threads of a block

    def machine(self, n: Instruction) -> None:
        operands = [self.operands[v.id] for v in n.operands]
        match n.op, n.attribute:
            case "barrier", attribute:
                machine.barrier(self.out, attribute, self.members())
            case "warp_shuffle", str() as kind:
                by = self.addresses.index(n.indices[0], "i32")
                moved = machine.warp_shuffle(self.out, kind, by, operands[0], n.value.type, self.members())
                self.operands[n.value.id] = moved
            case "load_matrix", _:
                self.matrices.load(n)
            case "mma", _:
                self.matrices.multiply(n)
            case "store_matrix", _:
                self.matrices.store(n)
            case "async_copy", int() as nbytes:
                assert n.memory is not None and n.source is not None
                target = self.addresses.element(n.memory, n.indices)
                source = self.addresses.element(n.source, n.source_indices)
                machine.async_copy(self.out, nbytes, target, source, operands[0] if operands else None)
                self.operands[n.value.id] = ""
            case "commit", _:
                machine.commit(self.out)
                self.operands[n.value.id] = ""
            case "wait", int() as left:
                machine.wait(self.out, left)
            case _:
                check_has(n.op, self.kernel.name, self.target)
                self.hopper.emit(n)

    def members(self) -> str:
        """The mask of the threads of this warp: the last one of a block may have fewer."""
        threads, warp, cache = self.kernel.block_threads, self.target.warp, self.out.scopes[0].cache
        if threads % warp == 0:
            return "-1"
        if "members" not in cache:
            out, few = self.out, (1 << threads % warp) - 1
            flat = out.call("i32", "llvm.nvvm.read.ptx.sreg.tid.x", [])
            last = out.let(f"icmp uge i32 {flat}, {threads - threads % warp}")
            cache["members"] = out.let(f"select i1 {last}, i32 {few}, i32 -1")
        return cache["members"]

    def role(self, role: Role) -> None:
        """A branch around what only some threads do: all that it computes is inside, and not known behind it."""
        out, index, floor = self.out, self.addresses.index(Index.of(role.index), "i32"), self.addresses.floor
        body, exit_ = out.fresh("role"), out.fresh("others")
        out.scopes.append(Scope(label=body))
        self.addresses.floor = out.depth
        if role.registers:
            self.take_registers(role)
        self.block(role.body)
        scope, self.addresses.floor = out.scopes.pop(), floor
        first = out.let(f"icmp sge i32 {index}, {role.first}")
        last = out.let(f"icmp slt i32 {index}, {role.last}")
        out.add(f"br i1 {out.let(f'and i1 {first}, {last}')}, label {body}, label {exit_}")
        out.scopes[-1].lines += [f"{body[1:]}:", *scope.lines]
        out.add(f"br label {exit_}")
        out.label(exit_)

    def take_registers(self, role: Role) -> None:
        """More or fewer than all threads of the block are given at launch."""
        check_has("setmaxnreg", self.kernel.name, self.target)
        given = self.target.registers // self.kernel.block_threads
        kind = "inc" if role.registers > given else "dec"
        self.out.effect(f"llvm.nvvm.setmaxnreg.{kind}.sync.aligned.u32", [("i32", str(role.registers))])

    def value(self, n: Instruction) -> str:
        t, addresses = n.value.type, self.addresses
        if n.op == "tail_mask":
            start, stop = n.indices
            self.accesses.tails[n.value.id] = start, stop
            if t.lanes == 1:
                kind = "i32" if addresses.are_narrow(start, stop) else "i64"
                return self.out.let(f"icmp slt {kind} {', '.join(addresses.index(i, kind) for i in (start, stop))}")
            if addresses.are_narrow(start + t.lanes, stop, stop - start):
                left = addresses.index(stop - start, "i32")
                lanes = VectorType(I32, t.lanes)
                return values.compare(self.out, "GT", lanes, values.splat(self.out, left, lanes), values.iota(lanes))
        if n.op == "index_value" and t.dtype.bits <= 32:
            operand = addresses.index(n.indices[0], "i32")
            return operand if t.dtype.bits == 32 else self.out.let(f"trunc i32 {operand} to {typed(t)}")
        return super().value(n)

    # Index arithmetic, in 32 bits where it fits

    def kind_of(self, loop: Loop) -> str:
        narrow = self.addresses.are_narrow(loop.lower, loop.upper, loop.upper + loop.step)
        return "i32" if narrow else "i64"

    def runs_at_most_once(self, loop: Loop) -> bool:
        most = self.addresses.ranges.of(loop.upper - loop.lower)[1]
        return most <= loop.step or super().runs_at_most_once(loop)

    def index_instruction(self, n: Instruction, result: IndexVariable) -> None:
        addresses = self.addresses
        if n.op == "index_of":
            narrow = n.operands[0].dtype.bits <= 32 and addresses.ranges.fit(Index.of(result))
        else:
            narrow = addresses.are_narrow(*n.indices)
        if not narrow and n.op in ("floordiv", "mod") and addresses.ranges.of(n.indices[0])[0] >= 0:
            x, y = map(addresses.index, n.indices)
            addresses.define(result, self.out.let(f"{_DIVISIONS[n.op]} i64 {x}, {y}"))
        elif not narrow:
            super().index_instruction(n, result)
        elif n.op == "index_of":
            addresses.define(result, self.narrow_value(n.operands[0]), "i32")
        else:
            addresses.define(result, self.narrow_result(n), "i32")

    def narrow_value(self, v: Value) -> str:
        if v.dtype.bits == 32:
            return self.operands[v.id]
        extension = "sext" if v.dtype.kind == "int" else "zext"
        return self.out.let(f"{extension} {typed(v.type)} {self.operands[v.id]} to i32")

    def narrow_result(self, n: Instruction) -> str:
        out, addresses = self.out, self.addresses
        x, y = (addresses.index(i, "i32") for i in n.indices)
        if n.op in ("min", "max"):
            return out.call("i32", f"llvm.s{n.op}.i32", [("i32", x), ("i32", y)])
        if addresses.ranges.of(n.indices[0])[0] >= 0:
            return out.let(f"{_DIVISIONS[n.op]} i32 {x}, {y}")
        return self.rounded_down(n.op, x, y)

    def rounded_down(self, op: str, x: str, y: str) -> str:
        """Of numbers that may be negative, by a positive one."""
        out = self.out
        remainder = out.let(f"srem i32 {x}, {y}")
        negative = out.let(f"icmp slt i32 {remainder}, 0")
        modulus = out.let(f"select i1 {negative}, i32 {out.let(f'add i32 {remainder}, {y}')}, i32 {remainder}")
        if op == "mod":
            return modulus
        return out.let(f"sdiv i32 {out.let(f'sub i32 {x}, {modulus}')}, {y}")

    def lanewise(self, n: Instruction, operands: list[str], types: list[VectorType], result: VectorType) -> str:
        """Lane by lane where one is of 8 or 16 bits: LLVM 22.1 ends the process over a select of ``<4 x i8>``."""
        if n.op in ("maximum", "minimum") and result.dtype == F32:
            name = f"llvm.{n.op}.{mangled(result)}"
            return self.out.call(typed(result), name, [(typed(result), v) for v in operands])
        if n.op == "convert" and F32 in (types[0].dtype, result.dtype) and {types[0].dtype, result.dtype} & {F16, BF16}:
            return super().lanewise(n, operands, types, result)  # two at a time
        if n.op in ("shift_left", "shift_right_logical") and result.dtype.bits == 64:
            return self.long_shift(n.op, operands, result)
        if result.lanes == 1 or not any(1 < t.dtype.bits < 32 for t in (*types, result)):
            return super().lanewise(n, operands, types, result)
        total, scalars = "poison", [VectorType(t.dtype) for t in types]
        for lane in range(result.lanes):
            parts = [values.extract(self.out, v, t, lane) for v, t in zip(operands, types, strict=True)]
            part = super().lanewise(n, parts, scalars, VectorType(result.dtype))
            total = values.insert(self.out, total, result, part, lane)
        return total

    def long_shift(self, op: str, operands: list[str], t: VectorType) -> str:
        """By a number that 32 bits hold: LLVM 22.1 leaves out the comparison with 63, and the upper half with it."""
        out, (x, by), last = self.out, operands, constant(63, t)
        clamped = out.call(typed(t), f"llvm.umin.{mangled(t)}", [(typed(t), by), (typed(t), last)])
        shifted = out.let(f"{'shl' if op == 'shift_left' else 'lshr'} {typed(t)} {x}, {clamped}")
        inside = out.let(f"icmp ule {typed(t)} {by}, {last}")
        return values.select(out, inside, t, shifted, constant(0, t))
