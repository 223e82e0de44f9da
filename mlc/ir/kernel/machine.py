"""Operations of blocks of threads: matrix units, barriers, shuffles between threads, asynchronous copies.

Their kernels have block axes. The emitter for CPUs refuses them.

    barrier                                    all threads of the block meet; barrier.warp: of the warp; barrier[i, n]:
                                               n threads at barrier number i
    warp_shuffle.down (16) %v                  the value of another thread of the warp: down, up, xor, index
    load_matrix %tile[i, j]                    a fragment from shared memory (ldmatrix); .transposed
    store_matrix %y[i, j] %acc                 a fragment to memory; elements outside of the memory's shape are left
    mma %a, %b, %acc                           acc + a @ b by the matrix unit of a warp
    async_copy[16] %tile[..] from %x[..] %on   16 bytes by each thread, zeros where %on is off (cp.async)
    async_copy.tensor %tile[..] from %x[..] %t a box of a tensor map, counted at the barrier of token %t (TMA)
    commit %t, ..                              the copies of these tokens, and those before them, as one group
    wait[1] %group                             until at most 1 group is under way, and %group is done
    barrier_init[n] %full[i]                   n arrivals complete a phase of a barrier in shared memory (mbarrier)
    barrier_expect[bytes] %full[i]             arrives, and announces bytes of copies; the token that copies take
    barrier_arrive %full[i]                    arrives
    barrier_wait %full[i] %phase               until the phase of this parity is complete
    fence_async                                what threads wrote to shared memory is seen by copies and products
    mma_fence                                  registers of accumulators are ready for products
    mma_async %a[..] with %b[..] %acc          acc + a @ b by the matrix unit of 4 warps, from shared memory (wgmma)
    mma_commit                                 the products since the last one, as a group
    mma_wait[n] %group                         until at most n groups of products are under way
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from mlc.errors import VerifyError
from mlc.ir.types import BF16, BOOL, F16, F32, I8, I32, U32, U64, DType

from .data import TOKEN, Fragment, Instruction, Memory, Value, VectorType


@dataclass(frozen=True, slots=True)
class MachineOp:
    """A row: the ``words`` that may qualify it, whether it takes numbers, and where its memories are."""

    words: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()  # how many
    memory: str = ""  # access of it: shared, or any
    source: str = ""
    indices: int = 0
    operands: tuple[int, int] = (0, 0)  # least and most
    result: str = ""  # token, fragment, accumulator (the type of the last operand), same (of the first)


MACHINE_OPS: dict[str, MachineOp] = {
    "barrier": MachineOp(words=("warp",), numbers=(0, 2)),
    "warp_shuffle": MachineOp(words=("down", "up", "xor", "index"), indices=1, operands=(1, 1), result="same"),
    "load_matrix": MachineOp(words=("transposed",), numbers=(0,), memory="shared", result="fragment"),
    "store_matrix": MachineOp(numbers=(0,), memory="any", operands=(1, 1)),
    "mma": MachineOp(numbers=(0,), operands=(3, 3), result="accumulator"),
    "async_copy": MachineOp(
        words=("tensor",), numbers=(1,), memory="shared", source="any", operands=(0, 1), result="token"
    ),
    "commit": MachineOp(numbers=(0,), operands=(0, 1 << 10), result="token"),
    "wait": MachineOp(numbers=(1,), operands=(0, 1)),
    "fence_async": MachineOp(numbers=(0,)),
    "barrier_init": MachineOp(numbers=(1,), memory="shared"),
    "barrier_expect": MachineOp(numbers=(1,), memory="shared", result="token"),
    "barrier_arrive": MachineOp(numbers=(0,), memory="shared"),
    "barrier_wait": MachineOp(numbers=(0,), memory="shared", operands=(1, 1)),
    "mma_fence": MachineOp(numbers=(0,)),
    "mma_async": MachineOp(numbers=(0,), memory="shared", source="shared", operands=(1, 1), result="accumulator"),
    "mma_commit": MachineOp(numbers=(0,), result="token"),
    "mma_wait": MachineOp(numbers=(1,), operands=(0, 1)),
}
ROLES = ("a", "b", "accumulator")


class _Mma(NamedTuple):
    rows: int
    columns: int
    depth: int
    operand: DType
    accumulator: DType


_MMAS = (
    _Mma(16, 8, 16, F16, F32), _Mma(16, 8, 16, BF16, F32), _Mma(16, 8, 8, F32, F32), _Mma(16, 8, 32, I8, I32),
)  # fmt: skip
_WARPGROUP_ROWS, _WARPGROUP = 64, 128


def check_machine_op(n: Instruction) -> None:
    """Raises VerifyError naming the constraint that a block operation breaks."""
    row = MACHINE_OPS[n.op]
    numbers = (
        n.attribute if isinstance(n.attribute, tuple) else () if isinstance(n.attribute, str | None) else (n.attribute,)
    )
    if isinstance(n.attribute, str):
        _need(n.attribute in row.words, n, f"no such kind {n.attribute}")
    else:
        _need(len(numbers) in row.numbers or (not row.numbers and not row.words), n, f"takes {row.numbers} numbers")
        _need(bool(row.numbers) or not row.words, n, f"is one of {' '.join(row.words)}")
    _check_memory(n, n.memory, row.memory, n.indices if n.memory is not None else ())
    _check_memory(n, n.source, row.source, n.source_indices)
    if n.memory is None:
        _need(len(n.indices) == row.indices, n, f"takes {row.indices} indices")
    least, most = row.operands
    _need(least <= len(n.operands) <= most, n, f"takes {least} to {most} operands, given {len(n.operands)}")
    _check_result(n, row)
    if n.op in _CHECKS:
        _CHECKS[n.op](n)


def _check_memory(n: Instruction, memory: Memory | None, wanted: str, indices: tuple[object, ...]) -> None:
    _need((memory is not None) == bool(wanted), n, "needs a memory" if wanted else "takes no such memory")
    if memory is not None:
        _need(wanted != "shared" or memory.access == "shared", n, f"{memory.name} is not shared memory")
        _need(len(indices) == len(memory.shape), n, f"{len(indices)} indices for rank {len(memory.shape)}")


def _check_result(n: Instruction, row: MachineOp) -> None:
    t = n.result.type if isinstance(n.result, Value) else None
    _need((t is not None) == bool(row.result), n, "needs a result" if row.result else "has no result")
    if t is None:
        return
    expected = {
        "token": VectorType(TOKEN),
        "accumulator": n.operands[-1].type if n.operands else None,
        "same": n.operands[0].type if n.operands else None,
    }.get(row.result, t)
    _need(t == expected, n, f"result is {expected}, declared {t}")


def _load_matrix(n: Instruction) -> None:
    assert n.memory is not None
    f = n.value.type.fragment
    _need(f is not None and f.role != "accumulator", n, f"{n.value.type} is no fragment of an operand")
    assert f is not None
    _need(n.value.dtype == n.memory.dtype, n, f"{n.value.type} of memory of {n.memory.dtype}")
    _need(n.value.dtype.bits == 16 or n.attribute is None, n, "transposes elements of 16 bits only")
    tiles = f.rows * f.columns * n.value.dtype.bits // 1024  # of 8 rows of 16 bytes
    _need(tiles in (1, 2, 4), n, f"{n.value.type} is not 1, 2 or 4 tiles of 8 rows of 16 bytes")


def _store_matrix(n: Instruction) -> None:
    assert n.memory is not None
    t = n.operands[0].type
    _need(t.fragment is not None and t.fragment.role == "accumulator", n, f"{t} is no accumulator")
    _need(t.dtype == n.memory.dtype, n, f"{t} into memory of {n.memory.dtype}")
    _need(n.memory.access not in ("read", "table"), n, f"{n.memory.name} is read-only")


def _mma(n: Instruction) -> None:
    a, b, c = (v.type for v in n.operands)
    for t, role in zip((a, b, c), ROLES, strict=True):
        _need(t.fragment is not None and t.fragment.role == role, n, f"{t} is no fragment of role {role}")
    assert a.fragment and b.fragment and c.fragment
    asked = _Mma(a.fragment.rows, b.fragment.columns, a.fragment.columns, a.dtype, c.dtype)
    _need(a.fragment.columns == b.fragment.rows and a.dtype == b.dtype, n, f"{a} and {b} do not fit")
    _need((c.fragment.rows, c.fragment.columns) == (asked.rows, asked.columns), n, f"{c} does not fit {a} and {b}")
    shape = f"m{asked.rows}n{asked.columns}k{asked.depth} of {a.dtype} into {c.dtype}"
    _need(asked in _MMAS, n, f"no matrix unit has {shape}")


def _mma_async(n: Instruction) -> None:
    a, b, t = n.memory, n.source, n.operands[0].type
    assert a is not None and b is not None
    f = t.fragment
    _need(f is not None and f.role == "accumulator" and f.threads == _WARPGROUP, n, f"{t} is no accumulator of 128")
    assert isinstance(f, Fragment)
    fits = f.rows == _WARPGROUP_ROWS and f.columns % 8 == 0 and 8 <= f.columns <= 256
    _need(fits, n, f"{t}: an accumulator is 64 x 8 .. 256, a multiple of 8")
    operands = a.dtype == b.dtype and (a.dtype, t.dtype) in ((F16, F32), (BF16, F32), (F32, F32), (I8, I32))
    _need(operands, n, f"no matrix unit multiplies {a.dtype} by {b.dtype} into {t.dtype}")


def _async_copy(n: Instruction) -> None:
    assert n.memory is not None and n.source is not None
    _need(n.memory.dtype == n.source.dtype, n, f"{n.source.dtype} to {n.memory.dtype}")
    if n.attribute == "tensor":
        _need(n.source.space == "tensor_map", n, f"{n.source.name} is no tensor map")
        _need(len(n.operands) == 1 and n.operands[0].dtype == TOKEN, n, "needs the token of a barrier")
        return
    _need(n.source.access in ("read", "readwrite"), n, f"{n.source.name} is {n.source.access}")
    _need(n.attribute in (4, 8, 16), n, f"copies 4, 8 or 16 bytes, not {n.attribute}")
    _need(all(v.type == VectorType(BOOL) for v in n.operands), n, "its mask is a bool")


def _tokens(n: Instruction) -> None:
    _need(all(v.dtype == TOKEN for v in n.operands), n, "takes tokens")


def _phases(n: Instruction) -> None:
    assert n.memory is not None
    _need(n.memory.dtype == U64, n, f"{n.memory.name} is {n.memory.dtype}: a barrier is a u64")
    _need(all(v.type == VectorType(U32) for v in n.operands), n, "its phase is a u32")


_CHECKS: dict[str, Callable[[Instruction], None]] = {
    "load_matrix": _load_matrix, "store_matrix": _store_matrix, "mma": _mma, "mma_async": _mma_async,
    "async_copy": _async_copy, "commit": _tokens, "wait": _tokens, "mma_wait": _tokens, "barrier_init": _phases,
    "barrier_expect": _phases, "barrier_arrive": _phases, "barrier_wait": _phases,
}  # fmt: skip


def _need(condition: bool, n: Instruction, message: str) -> None:
    if not condition:
        raise VerifyError(f"{n.op}: {message}")
