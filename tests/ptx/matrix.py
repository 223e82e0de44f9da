"""Matrix instructions of warps: ldmatrix, stmatrix and mma.sync of sm_80 and sm_90."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import PtxError
from .syntax import Instruction, Vector
from .values import bits_of, decode, encode

if TYPE_CHECKING:
    from .machine import Machine

Array = Any
LANES = np.arange(32)
GROUP, INSIDE = LANES // 4, LANES % 4


def _warps(m: Machine) -> Array:
    """The threads that are here as [warps, 32]."""
    if len(m.lanes) % 32 or (m.lane_of[m.lanes].reshape(-1, 32) != LANES).any():
        raise PtxError("divergent_barrier", "a matrix instruction without all 32 threads of a warp")
    return m.lanes.reshape(-1, 32)


def _load_matrix(m: Machine, n: Instruction) -> None:
    """``ldmatrix``: threads 8i to 8i + 7 give the rows of matrix i, of 16 bytes each."""
    count = next(int(p[1:]) for p in n.parts if p in ("x1", "x2", "x4"))
    if "b16" not in n.parts or "m8n8" not in n.parts:
        raise PtxError("unknown_instruction", str(n))
    addresses = m.addresses(n.operands[1])
    warps = _warps(m)
    rows = _rows(m, warps, addresses, count)  # [warps, count, 8 rows, 8 halves]
    if "trans" in n.parts:
        rows = rows.swapaxes(2, 3)
    pairs = np.ascontiguousarray(rows).view(np.uint32)  # [warps, count, 8, 4]
    found = pairs[:, :, GROUP, INSIDE]  # [warps, count, 32]
    target = n.operands[0]
    assert isinstance(target, Vector)
    for i, register in enumerate(target.elements):
        m.write(register, "b32", found[:, i].ravel())


def _rows(m: Machine, warps: Array, addresses: Array, count: int) -> Array:
    lanes = m.lanes
    chosen = np.arange(len(lanes)).reshape(-1, 32)[:, : 8 * count].ravel()
    m.lanes = lanes[chosen]
    try:
        raw = m.spaces.load("shared", addresses[chosen], 16, of_warps=True)
    finally:
        m.lanes = lanes
    return raw.view(np.uint16).reshape(len(warps), count, 8, 8)


def _store_matrix(m: Machine, n: Instruction) -> None:
    """``stmatrix`` (sm_90): the other way round."""
    if "b16" not in n.parts or "m8n8" not in n.parts:
        raise PtxError("unknown_instruction", str(n))
    count = next(int(p[1:]) for p in n.parts if p in ("x1", "x2", "x4"))
    addresses, source = m.addresses(n.operands[0]), n.operands[1]
    assert isinstance(source, Vector)
    warps = _warps(m)
    halves = np.empty((len(warps), count, 8, 4), np.uint32)
    for i, register in enumerate(source.elements):
        halves[:, i, GROUP, INSIDE] = m.read(register, "b32").reshape(-1, 32)
    rows = halves.view(np.uint16)
    rows = rows.swapaxes(2, 3) if "trans" in n.parts else rows
    lanes = m.lanes
    chosen = np.arange(len(lanes)).reshape(-1, 32)[:, : 8 * count].ravel()
    m.lanes = lanes[chosen]
    try:
        raw = np.ascontiguousarray(rows).reshape(-1, 8).view(np.uint8)
        m.spaces.store("shared", addresses[chosen], raw, of_warps=True)
    finally:
        m.lanes = lanes


def _fragment(m: Machine, operand: Any, type: str) -> Array:
    """The elements that each thread holds: [warps, 32, elements]."""
    assert isinstance(operand, Vector)
    raw = np.stack([m.read(e, "b32") for e in operand.elements], 1)
    if type in ("f32", "tf32", "s32"):
        raw = raw & np.uint32(0xFFFFE000) if type == "tf32" else raw
        values: Array = raw.view(np.int32 if type == "s32" else np.float32)
    else:
        packed = {16: np.uint16, 8: np.uint8}[bits_of(type)]
        values = decode(np.ascontiguousarray(raw).view(packed).ravel(), type).reshape(len(raw), -1)
    return values.reshape(-1, 32, values.shape[1])


def _matrix_a(x: Array, k: int, per_register: int) -> Array:
    """A [warps, 16, k]: registers go over rows g, g + 8 and then over the halves of k."""
    found = np.zeros((len(x), 16, k), x.dtype)
    for i in range(x.shape[2]):
        register, part = divmod(i, per_register)
        found[:, GROUP + 8 * (register % 2), INSIDE * per_register + part + (register // 2) * 4 * per_register] = x[
            :, :, i
        ]
    return found


def _matrix_b(x: Array, k: int, per_register: int) -> Array:
    """B [warps, k, 8]."""
    found = np.zeros((len(x), k, 8), x.dtype)
    for i in range(x.shape[2]):
        register, part = divmod(i, per_register)
        found[:, INSIDE * per_register + part + register * 4 * per_register, GROUP] = x[:, :, i]
    return found


def _mma(m: Machine, n: Instruction) -> None:
    """``mma.sync.aligned.m16n8kK.row.col.D.A.B.C``: products are exact, their sum with C is rounded once."""
    shape = next(p for p in n.parts if p.startswith("m16n8k"))
    k = int(shape.partition("k")[2])
    to, of_a, of_b, of_c = n.parts[-4:]
    kinds = {"f16": ("f16", "f32"), "bf16": ("f32",), "tf32": ("f32",), "s8": ("s32",), "u8": ("s32",)}
    if to not in kinds.get(of_a, ()) or of_c not in kinds[of_a] or "satfinite" in n.parts or "sync" not in n.parts:
        raise PtxError("unknown_instruction", str(n))
    _warps(m)
    per_register = 32 // bits_of(of_a)
    a = _matrix_a(_fragment(m, n.operands[1], of_a), k, per_register)
    b = _matrix_b(_fragment(m, n.operands[2], of_b), k, per_register)
    c = _fragment(m, n.operands[3], of_c)
    accumulator = np.zeros((len(c), 16, 8))
    for i in range(4):
        accumulator[:, GROUP + 8 * (i // 2), INSIDE * 2 + i % 2] = c[:, :, i]
    product = a.astype(np.float64) @ b.astype(np.float64) + accumulator
    d = np.stack([product[:, GROUP + 8 * (i // 2), INSIDE * 2 + i % 2] for i in range(4)], 2).reshape(-1, 4)
    if to == "s32":
        d = (d.astype(np.int64) & 0xFFFFFFFF).astype(np.uint32).view(np.int32)
    if to == "f16":
        m.write(n.operands[0], "b32", np.ascontiguousarray(encode(d, "f16")).view(np.uint32))
    else:
        m.write(n.operands[0], to, d)


RULES: dict[str, Callable[[Machine, Instruction], None]] = {
    "ldmatrix": _load_matrix, "stmatrix": _store_matrix, "mma": _mma,
}  # fmt: skip
