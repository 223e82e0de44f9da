"""Instructions of whole warps: shuffles, votes, reductions, and the barrier of a warp; who must come to which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import PtxError
from .syntax import Instruction, Number, Operand, Pair

if TYPE_CHECKING:
    from .machine import Machine

Array = Any
MASKED = ("shfl", "vote", "match", "redux")  # their last operand names the members
WHOLE = ("ldmatrix", "stmatrix", "mma", "wmma", "movmatrix")


def is_barrier(n: Instruction) -> bool:
    """A barrier of blocks."""
    return n.parts[0] in ("bar", "barrier") and "warp" not in n.parts and "cluster" not in n.parts


def is_collective(n: Instruction) -> bool:
    """Whether the members of a warp must run ``n`` together."""
    return n.parts[0] in MASKED or n.parts[0] in WHOLE or n.parts[:2] == ("bar", "warp")


def is_of_warps(n: Instruction) -> bool:
    return n.parts[0] in MASKED or n.parts[0] == "activemask" or n.parts[:2] == ("bar", "warp")


def check_barrier(n: Instruction, threads: int) -> None:
    """PtxError for what is no barrier of all ``threads`` of a block."""
    count = n.operands[1] if len(n.operands) > 1 else Number(threads)
    if "sync" not in n.parts or count != Number(threads):
        raise PtxError("unknown_instruction", f"{n} of some threads of a block; only barriers of all of them are known")


def names_all(n: Instruction) -> bool:
    """Whether every thread of a warp is a member, whatever the values of registers."""
    return n.parts[0] in WHOLE or _mask(n) in (Number(-1), Number(0xFFFFFFFF))


def _mask(n: Instruction) -> Operand:
    return n.operands[0 if n.parts[0] == "bar" else -1]


def complete(m: Machine, n: Instruction) -> Array:
    """Which of the threads here have all members of their mask, but for those that have exited, beside them."""
    mask = m.read(Number(-1) if names_all(n) else _mask(n), "u32")
    one = np.uint32(1) << m.lane_of[m.lanes].astype(np.uint32)
    if ((mask & one) == 0).any():
        thread = m.name_of(int(m.lanes[int(np.flatnonzero((mask & one) == 0)[0])]))
        raise PtxError("divergent_barrier", "a thread that its own mask does not name", thread=thread)
    here = _ballot(m, np.ones(len(m.lanes), bool))
    alive = np.zeros(m.warps, np.uint32)
    lanes = np.flatnonzero(~m.exited)
    np.bitwise_or.at(alive, m.warp_of[lanes], np.uint32(1) << m.lane_of[lanes].astype(np.uint32))
    return mask & alive[m.warp_of[m.lanes]] & ~here == 0


def run(m: Machine, n: Instruction, types: list[str]) -> None:
    name = n.parts[0]
    if name == "bar":
        _synchronise(m, n.operands[0])
    elif name == "shfl":
        _shuffle(m, n)
    elif name == "activemask":
        m.write(n.operands[0], "b32", _ballot(m, np.ones(len(m.lanes), bool)))
    elif name == "vote":
        _vote(m, n)
    elif name == "redux" and types[-1] in ("s32", "u32", "b32"):
        _reduce(m, n, types[-1])
    elif name == "match":
        _match(m, n, types[-1])
    else:
        raise PtxError("unknown_instruction", str(n))


def _synchronise(m: Machine, operand: Operand) -> None:
    """A barrier of some of a warp's threads waits, but is not counted as ordering the memory of all of them."""
    live = np.bincount(m.warp_of[~m.exited], minlength=m.warps)
    here = np.bincount(m.warp_of[m.lanes], minlength=m.warps)
    m.warp_epoch[m.lanes] += (live == here)[m.warp_of[m.lanes]]


def _table(m: Machine, values: Array) -> Array:
    """Values [warps, 32], where threads are here."""
    found = np.zeros((m.warps, 32), values.dtype)
    found[m.warp_of[m.lanes], m.lane_of[m.lanes]] = values
    return found


def _ballot(m: Machine, chosen: Array) -> Array:
    bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
    per_warp = np.where(_table(m, chosen), bits, np.uint32(0)).sum(1, dtype=np.uint32)
    return per_warp[m.warp_of[m.lanes]]


def _members(m: Machine, mask: Array) -> list[Array]:
    """Positions, among the threads here, of those that act together: of one warp and one mask."""
    keys = m.warp_of[m.lanes].astype(np.int64) << 32 | mask.astype(np.int64)
    order = np.argsort(keys, kind="stable")
    ends = np.flatnonzero(np.diff(keys[order])) + 1
    return np.split(order, ends)


def _shuffle(m: Machine, n: Instruction) -> None:
    result, value, by, clamp, _ = n.operands
    x, b, c = m.read(value, "b32"), m.read(by, "u32").astype(np.int64) & 31, m.read(clamp, "u32").astype(np.int64)
    lane = m.lane_of[m.lanes].astype(np.int64)
    end, segment = c & 31, (c >> 8) & 31
    top, bottom = (lane & segment) | (end & ~segment), lane & segment
    sources = {"up": lane - b, "down": lane + b, "bfly": lane ^ b, "idx": bottom | (b & ~segment)}
    source = sources[n.parts[2]]
    good = source >= top if n.parts[2] == "up" else source <= top
    source = np.where(good, source, lane)
    here = _table(m, np.ones(len(m.lanes), bool))[m.warp_of[m.lanes], source]
    if not here.all():
        thread = m.name_of(int(m.lanes[int(np.flatnonzero(~here)[0])]))
        raise PtxError("uninitialised", "a shuffle takes from a thread that is not there", thread=thread)
    found = _table(m, x)[m.warp_of[m.lanes], source]
    if isinstance(result, Pair):
        m.write(result.predicate, "pred", good)
        result = result.value
    m.write(result, "b32", found)


def _vote(m: Machine, n: Instruction) -> None:
    predicate, mask = m.read(n.operands[1], "pred"), m.read(n.operands[2], "u32")
    ballot = _ballot(m, predicate) & mask
    whole = _ballot(m, np.ones(len(m.lanes), bool)) & mask
    if "ballot" in n.parts:
        m.write(n.operands[0], "b32", ballot)
    else:
        rules = {"all": ballot == whole, "any": ballot != 0, "uni": (ballot == whole) | (ballot == 0)}
        m.write(n.operands[0], "pred", next(rules[p] for p in n.parts if p in rules))


def _reduce(m: Machine, n: Instruction, type: str) -> None:
    x = m.read(n.operands[1], type)
    rules = {"add": np.add, "min": np.minimum, "max": np.maximum, "and": np.bitwise_and, "or": np.bitwise_or,
             "xor": np.bitwise_xor}  # fmt: skip
    rule, found = next(rules[p] for p in n.parts if p in rules), x.copy()
    for group in _members(m, m.read(n.operands[2], "u32")):
        found[group] = rule.reduce(x[group], dtype=x.dtype)
    m.write(n.operands[0], type, found)


def _match(m: Machine, n: Instruction, type: str) -> None:
    x, found = m.read(n.operands[1], type), np.zeros(len(m.lanes), np.uint32)
    bits = np.uint32(1) << m.lane_of[m.lanes].astype(np.uint32)
    for group in _members(m, m.read(n.operands[2], "u32")):
        found[group] = np.where(x[group][:, None] == x[group], bits[group], 0).sum(1)
    if "all" in n.parts:
        raise PtxError("unknown_instruction", str(n))
    m.write(n.operands[0], "b32", found)
