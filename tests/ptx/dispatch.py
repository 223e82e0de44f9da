"""What an instruction does to the threads that run it: its operands are read by type, computed with, and written."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from . import atomics, matrix, warp
from .arithmetic import CARRIES, FORMULAS, carried, compute
from .compare import compare
from .convert import convert
from .errors import PtxError
from .exact import flush
from .syntax import Instruction, Pair, Register, Vector
from .values import RAW, TYPES, bits_of, is_float

if TYPE_CHECKING:
    from .machine import Machine

Array = Any
ORDERING = ("membar", "fence", "griddepcontrol", "prefetch", "prefetchu", "discard", "applypriority", "nanosleep")
LATER = ("wgmma", "mbarrier", "tcgen05", "elect", "setmaxnreg", "mapa", "clusterlaunchcontrol", "multimem")


@cache
def _types(parts: tuple[str, ...]) -> list[str]:
    return [p for p in parts[1:] if p in TYPES]


def execute(m: Machine, n: Instruction) -> None:
    """Run ``n``, which neither jumps nor waits, for the threads ``m.lanes``."""
    name, types = n.parts[0], _types(n.parts)
    if name in ("ld", "ldu", "st") and types:
        m.spaces.access(n, types[-1])
    elif name in ("atom", "red") and types:
        atomics.update(m, n, types[-1])
    elif name in ("setp", "set") and types:
        _compare(m, n, types)
    elif name == "cvt" and len(types) > 1:
        _convert(m, n, types)
    elif name == "cvta":
        m.spaces.generic(n)
    elif name == "mov" and types:
        _move(m, n, types[0])
    elif warp.is_of_warps(n):
        warp.run(m, n, types)
    elif name in matrix.RULES:
        matrix.RULES[name](m, n)
    elif name == "cp":
        m.copies.run(n)
    elif name in FORMULAS and types:
        _arithmetic(m, n, types)
    elif name in LATER or "cluster" in n.parts:
        raise PtxError("unknown_instruction", f"{n} is of sm_90 and later, whose meaning only a GPU shows")
    elif name not in ORDERING:
        raise PtxError("unknown_instruction", str(n))


def _arithmetic(m: Machine, n: Instruction, types: list[str]) -> None:
    sources, to = _signature(n.parts, len(n.operands) - 1)
    values = [m.read(o, t) for o, t in zip(n.operands[1:], sources, strict=True)]
    if n.parts[0] in CARRIES or "cc" in n.parts:
        result, m.carry[m.lanes] = carried(n.parts, to, values, m.carry[m.lanes])
    else:
        result = compute(n.parts, to if n.parts[0] == "dp4a" else types[0], values)
    m.write(n.operands[0], to, result)


@cache
def _signature(parts: tuple[str, ...], operands: int) -> tuple[list[str], str]:
    """The types of the operands, and of the result. PtxError for another number of either."""
    name, types = parts[0], _types(parts)
    type = types[-1]
    sources, to = [type] * operands, type
    if name in ("add", "sub", "fma") and types in (["f32", "f16"], ["f32", "bf16"]):
        sources[-1] = to = "f32"  # halves are added to f32
    elif len(types) > 1 and name not in ("slct", "dp4a"):
        raise PtxError("unknown_instruction", f"{'.'.join(parts)} of several types")
    elif "wide" in parts:
        to = f"{type[0]}{2 * bits_of(type)}"
        sources[2:] = [to] * len(sources[2:])
    elif name in ("shl", "shr", "bfe"):
        sources[1:] = ["u32"] * len(sources[1:])
    elif name in ("shf", "bfi"):
        sources[2:] = ["u32"] * len(sources[2:])
    elif name == "selp":
        sources[2] = "pred"
    elif name == "slct":
        sources, to = [types[0], types[0], types[1]], types[0]
    elif name == "dp4a":
        to = "s32" if "s32" in types else "u32"
        sources = ["b32", "b32", to]
    elif name in ("popc", "clz", "bfind"):
        to = "u32"
    elif name == "testp":
        to = "pred"
    if len(sources) != operands:
        raise PtxError("unknown_instruction", f"{'.'.join(parts)} of {operands + 1} operands")
    return sources, to


def _compare(m: Machine, n: Instruction, types: list[str]) -> None:
    source, (a, b) = types[-1], (m.read(o, types[-1]) for o in n.operands[1:3])
    if "ftz" in n.parts and a.dtype == np.float32:
        smallest = 2.0**-126 if source == "f32" else 2.0**-14
        a, b = flush(a, smallest), flush(b, smallest)
    found, opposite = compare(n.parts[1], a, b), None
    if isinstance(n.operands[0], Pair):
        opposite = found[:, 1] if found.ndim == 2 else ~found
    found = found[:, 0] if opposite is not None and found.ndim == 2 else found
    logic = next((p for p in n.parts if p in ("and", "or", "xor")), "")
    if logic:
        other, rule = m.read(n.operands[3], "pred"), {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}
        found = rule[logic](found, other)
        opposite = rule[logic](opposite, other) if opposite is not None else None
    if n.parts[0] == "set":
        to = types[0]
        m.write(n.operands[0], to, found.astype(np.float32) if is_float(to) else -found.astype(np.int64))
    elif isinstance(n.operands[0], Pair):
        m.write(n.operands[0].value, "pred", found)
        m.write(n.operands[0].predicate, "pred", opposite)
    else:
        m.write(n.operands[0], "pred", found)


def _convert(m: Machine, n: Instruction, types: list[str]) -> None:
    to, source = types[-2], types[-1]
    if to in ("f16x2", "bf16x2"):  # the first operand becomes the upper half
        both = [convert(n.parts, to[:-2], source, m.read(o, source)) for o in (n.operands[2], n.operands[1])]
        m.write(n.operands[0], to, np.stack(both, 1))
    else:
        m.write(n.operands[0], to, convert(n.parts, to, source, m.read(n.operands[1], source)))


def _move(m: Machine, n: Instruction, type: str) -> None:
    to, source = n.operands
    if isinstance(to, Vector):
        part = f"b{bits_of(type) // len(to.elements)}"
        raw = np.ascontiguousarray(m.read(source, type))[:, None].view(RAW[bits_of(part)])
        m.write(to, part, raw)
    elif isinstance(source, Vector):
        part = f"b{bits_of(type) // len(source.elements)}"
        raw = np.stack([m.read(e, part) for e in source.elements], 1)
        m.write(to, f"b{bits_of(type)}", np.ascontiguousarray(raw).view(RAW[bits_of(type)])[:, 0])
    elif isinstance(source, Register) and isinstance(to, Register) and m.registers.missing(source) is not None:
        m.registers.copy(to, source)
    else:
        m.write(to, type, m.read(source, type))
