"""What sm_90 adds, as LLVM IR: barriers in shared memory, copies by tensor maps, and products of four warps.

Nothing but a GPU shows what these do: their text is assembled, not run.
"""

from __future__ import annotations

from mlc.codegen.addresses import Addresses
from mlc.codegen.names import typed
from mlc.codegen.nvptx.addresses import DeviceAddresses
from mlc.errors import UnsupportedError
from mlc.ir.kernel import Index, Instruction, Memory
from mlc.ir.target import GpuTarget
from mlc.ir.types import BF16, F16, F32, I8, DType

_TARGETS = {  # operations: the targets that have them
    **dict.fromkeys(("mma_async", "mma_fence", "mma_commit", "mma_wait"), ("sm_90a",)),
    **dict.fromkeys(
        ("barrier_init", "barrier_expect", "barrier_arrive", "barrier_wait", "fence_async", "async_copy", "setmaxnreg"),
        ("sm_90a", "sm_100a"),
    ),
}
_SHARED = "ptr addrspace(3)"
_PRODUCTS: dict[DType, tuple[str, str]] = {  # of 32 bytes of K: types, and what follows the descriptors
    F16: ("k16.f32.f16.f16", "1, 1, 1, 0, 0"),
    BF16: ("k16.f32.bf16.bf16", "1, 1, 1, 0, 0"),
    F32: ("k8.f32.tf32.tf32", "1, 1, 1"),
    I8: ("k32.s32.s8.s8", "1"),
}
_SWIZZLES = {128: 1, 64: 2, 32: 3, 0: 0}  # the field of a descriptor


def check_has(op: str, kernel: str, target: GpuTarget) -> None:
    """Raises UnsupportedError where a target has no such operation."""
    if target.cpu not in _TARGETS.get(op, ()):
        others = " and ".join(_TARGETS.get(op, ("no target",)))
        raise UnsupportedError(f"{kernel}: {op} is of {others}, not of {target.name}")


class Hopper:
    """Emits these operations of one kernel; a token of a barrier is the pointer to it."""

    def __init__(self, addresses: DeviceAddresses, operands: dict[int, str]) -> None:
        self.out = addresses.out
        self.addresses = addresses
        self.operands = operands

    def emit(self, n: Instruction) -> None:
        match n.op, n.attribute:
            case "barrier_init", int() as count:
                self.out.effect("llvm.nvvm.mbarrier.init.shared", [(_SHARED, self.place(n)), ("i32", str(count))])
            case "barrier_expect", int() as nbytes:
                place = self.place(n)
                name = "llvm.nvvm.mbarrier.arrive.expect.tx.scope.cta.space.cta"
                self.out.call("i64", name, [(_SHARED, place), ("i32", str(nbytes))])
                self.operands[n.value.id] = place
            case "barrier_arrive", _:
                name = "llvm.nvvm.mbarrier.arrive.scope.cta.space.cta"
                self.out.call("i64", name, [(_SHARED, self.place(n)), ("i32", "1")])
            case "barrier_wait", _:
                self.wait(n)
            case "async_copy", _:
                self.copy(n)
            case "fence_async", _:
                self.out.add('call void asm sideeffect "fence.proxy.async.shared::cta;", "~{memory}"()')
            case "mma_fence", _:
                self.out.effect("llvm.nvvm.wgmma.fence.sync.aligned", [])
            case "mma_commit", _:
                self.out.effect("llvm.nvvm.wgmma.commit_group.sync.aligned", [])
                self.operands[n.value.id] = ""
            case "mma_wait", int() as left:
                self.out.effect("llvm.nvvm.wgmma.wait_group.sync.aligned", [("i64", str(left))])
            case "mma_async", _:
                self.multiply(n)

    def place(self, n: Instruction) -> str:
        assert n.memory is not None
        return self.addresses.element(n.memory, n.indices)

    def wait(self, n: Instruction) -> None:
        """Asks until the phase of this parity is complete; the hardware suspends the thread between."""
        out, place, parity = self.out, self.place(n), self.operands[n.operands[0].id]
        again, done = out.fresh("again"), out.fresh("done")
        out.add(f"br label {again}")
        out.label(again)
        name = "llvm.nvvm.mbarrier.try.wait.parity.scope.cta.space.cta"
        complete = out.call("i1", name, [(_SHARED, place), ("i32", parity)])
        out.add(f"br i1 {complete}, label {done}, label {again}")
        out.label(done)

    def copy(self, n: Instruction) -> None:
        """A box of a tensor map, whose coordinates go from the last axis to the first."""
        assert n.source is not None
        out, rank = self.out, len(n.source_indices)
        target = out.let(f"addrspacecast {_SHARED} {self.place(n)} to ptr addrspace(7)")
        barrier = self.operands[n.operands[0].id]
        at = [self.addresses.index(i, "i32") for i in reversed(n.source_indices)]
        operands = [("ptr addrspace(7)", target), (_SHARED, barrier), ("ptr", self.addresses.bases[n.source.id])]
        operands += [("i32", c) for c in at]
        operands += [("i16", "0"), ("i64", "0"), ("i1", "false"), ("i1", "false"), ("i32", "0")]
        out.effect(f"llvm.nvvm.cp.async.bulk.tensor.g2s.tile.{rank}d", operands)

    # Products

    def multiply(self, n: Instruction) -> None:
        """Operands lie along K in shared memory; the accumulators stay in the registers that they came in."""
        assert n.memory is not None and n.source is not None
        t, total = n.value.type, self.operands[n.operands[0].id]
        assert t.fragment is not None
        kind, flags = _PRODUCTS[n.memory.dtype]
        element, letter = ("float", "f") if t.dtype == F32 else ("i32", "r")
        count = t.lanes
        registers = ", ".join(f"${k}" for k in range(count))
        text = f"wgmma.mma_async.sync.aligned.m64n{t.fragment.columns}{kind} {{{registers}}}, "
        text += f"${2 * count}, ${2 * count + 1}, {flags};"
        constraints = ",".join([*[f"={letter}"] * count, *map(str, range(count)), "l", "l"])
        result = f"{{ {', '.join([element] * count)} }}"
        parts = [self.out.let(f"extractelement {typed(t)} {total}, i64 {k}") for k in range(count)]
        operands = ", ".join(f"{element} {p}" for p in parts)
        descriptors = [self.descriptor(n.memory, n.indices), self.descriptor(n.source, n.source_indices)]
        operands += "".join(f", i64 {d}" for d in descriptors)
        done = self.out.let(f'call {result} asm sideeffect "{text}", "{constraints}"({operands}) convergent')
        whole = "poison"
        for k in range(count):
            part = self.out.let(f"extractvalue {result} {done}, {k}")
            whole = self.out.let(f"insertelement {typed(t)} {whole}, {element} {part}, i64 {k}")
        self.operands[n.value.id] = whole

    def descriptor(self, m: Memory, indices: tuple[Index, ...]) -> str:
        """Of rows of ``swizzle`` bytes: address and distance of 8 rows, in units of 16 bytes (PTX ISA, wgmma)."""
        out = self.out
        pointer = Addresses.element(self.addresses, m, indices)  # the hardware swizzles
        address = out.let(f"ptrtoint {_SHARED} {pointer} to i64")
        low = out.let(f"lshr i64 {out.let(f'and i64 {address}, {0x3FFFF}')}, 4")
        stride = m.strides[-2].constant
        if stride is None or stride * m.dtype.itemsize != m.swizzle:
            raise UnsupportedError(f"mma_async: rows of {m.name} are not its swizzle of {m.swizzle} bytes")
        fixed = 1 << 16 | (8 * m.swizzle >> 4) << 32 | _SWIZZLES[m.swizzle] << 62
        return out.let(f"or i64 {low}, {fixed - (1 << 64) if fixed >> 63 else fixed}")
