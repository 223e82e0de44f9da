"""Operations of blocks of threads as LLVM IR: barriers, shuffles and asynchronous copies."""

from __future__ import annotations

from mlc.codegen import values
from mlc.codegen.lines import Lines
from mlc.codegen.names import element, typed
from mlc.ir.kernel import VectorType
from mlc.ir.types import F32, U32

_SHUFFLES = {"down": ("down", 31), "up": ("up", 0), "xor": ("bfly", 31), "index": ("idx", 31)}


def barrier(out: Lines, attribute: object, members: str) -> None:
    """Of the block, of the warp, or of some warps at a barrier of a number."""
    if attribute == "warp":
        out.effect("llvm.nvvm.bar.warp.sync", [("i32", members)])
    elif isinstance(attribute, tuple):
        number, threads = attribute
        out.effect("llvm.nvvm.barrier.cta.sync.aligned.count", [("i32", str(number)), ("i32", str(threads))])
    else:
        out.effect("llvm.nvvm.barrier.cta.sync.aligned.all", [("i32", "0")])


def warp_shuffle(out: Lines, kind: str, by: str, value: str, t: VectorType, members: str) -> str:
    """Each lane of ``value`` from the thread that ``by``, an i32, says; 32 bits at a time."""
    if t.lanes == 1:
        return _shuffled(out, kind, by, value, VectorType(t.dtype), members)
    total = "poison"
    for lane in range(t.lanes):
        part = values.extract(out, value, t, lane)
        total = values.insert(out, total, t, _shuffled(out, kind, by, part, VectorType(t.dtype), members), lane)
    return total


def _shuffled(out: Lines, kind: str, by: str, value: str, t: VectorType, members: str) -> str:
    if t.dtype.bits == 64:
        halves = out.let(f"bitcast {typed(t)} {value} to <2 x i32>")
        moved = warp_shuffle(out, kind, by, halves, VectorType(U32, 2), members)
        return out.let(f"bitcast <2 x i32> {moved} to {typed(t)}")
    if t.dtype == F32:
        word = out.let(f"bitcast float {value} to i32")
    elif t.dtype.bits == 32:
        word = value
    else:
        word = out.let(f"zext {element(t.dtype)} {value} to i32")
    name, bounds = _SHUFFLES[kind]
    operands = [("i32", members), ("i32", word), ("i32", by), ("i32", str(bounds))]
    moved = out.call("i32", f"llvm.nvvm.shfl.sync.{name}.i32", operands)
    if t.dtype == F32:
        return out.let(f"bitcast i32 {moved} to float")
    return moved if t.dtype.bits == 32 else out.let(f"trunc i32 {moved} to {element(t.dtype)}")


def async_copy(out: Lines, nbytes: int, target: str, source: str, mask: str | None) -> None:
    """Zeros where ``mask`` is off, when nothing is read."""
    name = f"llvm.nvvm.cp.async.{'cg' if nbytes == 16 else 'ca'}.shared.global.{nbytes}"
    operands = [("ptr addrspace(3)", target), ("ptr addrspace(1)", source)]
    if mask is not None:
        name += ".s"
        operands.append(("i32", out.let(f"select i1 {mask}, i32 {nbytes}, i32 0")))
    out.effect(name, operands)


def commit(out: Lines) -> None:
    out.effect("llvm.nvvm.cp.async.commit.group", [])


def wait(out: Lines, left: int) -> None:
    """Until at most ``left`` groups of this thread's copies are under way."""
    out.effect("llvm.nvvm.cp.async.wait.group", [("i32", str(left))])
