"""Instructions of whole warps: shuffles, votes, reductions, and the barrier of a warp."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import PtxError
from .text import Instruction, Pair

if TYPE_CHECKING:
    from .machine import Machine

Array = Any
RULES = ("shfl", "vote", "match", "redux", "activemask")
COLLECTIVE = {*RULES, "ldmatrix", "stmatrix", "mma", "wmma"} - {"activemask"}


def is_collective(n: Instruction) -> bool:
    """Whether all threads of a warp must run ``n`` together."""
    return n.parts[0] in COLLECTIVE or (n.parts[0] == "bar" and "warp" in n.parts)


def run(m: Machine, n: Instruction, types: list[str]) -> None:
    name = n.parts[0]
    if name == "bar":
        _members(m, m.read(n.operands[0], "u32"))
        m.warp_epoch[m.lanes] += 1
    elif name == "shfl":
        _shuffle(m, n)
    elif name == "activemask":
        m.write(n.operands[0], "b32", _ballot(m, np.ones(len(m.lanes), bool)))
    elif name == "vote":
        _vote(m, n)
    elif name == "redux":
        _reduce(m, n, types[-1])
    else:
        raise PtxError("unknown_instruction", str(n))


def _members(m: Machine, mask: Array) -> None:
    """Every thread of the mask is here, and every thread here is of the mask."""
    here = _ballot(m, np.ones(len(m.lanes), bool))
    live = np.zeros(int(m.warp_of[-1]) + 1, np.uint32)
    alive = ~m.exited
    np.bitwise_or.at(live, m.warp_of[alive], (np.uint32(1) << m.lane_of[alive].astype(np.uint32)))
    if ((mask & live[m.warp_of[m.lanes]]) != here).any():
        raise PtxError("divergent_barrier", "the mask of the warp's members is not who is here")


def _table(m: Machine, values: Array, fill: int = 0) -> Array:
    """Values [warps, 32], where threads are here."""
    found = np.full((int(m.warp_of[-1]) + 1, 32), fill, values.dtype)
    found[m.warp_of[m.lanes], m.lane_of[m.lanes]] = values
    return found


def _ballot(m: Machine, chosen: Array) -> Array:
    bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
    per_warp = np.where(_table(m, chosen), bits, np.uint32(0)).sum(1, dtype=np.uint32)
    return per_warp[m.warp_of[m.lanes]]


def _shuffle(m: Machine, n: Instruction) -> None:
    result, value, by, clamp, mask = n.operands
    _members(m, m.read(mask, "u32"))
    mode = n.parts[2]
    x, b, c = m.read(value, "b32"), m.read(by, "u32").astype(np.int64), m.read(clamp, "u32").astype(np.int64)
    lane = m.lane_of[m.lanes].astype(np.int64)
    low_bits, segment = c & 31, (c >> 8) & 31
    top = (lane & segment) | (low_bits & ~segment)
    bottom = lane & segment
    source = {
        "up": lane - (b & 31),
        "down": lane + (b & 31),
        "bfly": lane ^ (b & 31),
        "idx": bottom | (b & 31 & ~segment),
    }[mode]
    good = source >= top if mode == "up" else source <= top
    source = np.where(good, source, lane)
    here = _table(m, np.ones(len(m.lanes), bool))
    if not here[m.warp_of[m.lanes], source].all():
        raise PtxError("uninitialised", "a shuffle takes from a thread that is not there")
    found = _table(m, x)[m.warp_of[m.lanes], source]
    if isinstance(result, Pair):
        m.write(result.predicate, "pred", good)
        result = result.value
    m.write(result, "b32", found)


def _vote(m: Machine, n: Instruction) -> None:
    _members(m, m.read(n.operands[2], "u32"))
    ballot = _ballot(m, m.read(n.operands[1], "pred"))
    whole = _ballot(m, np.ones(len(m.lanes), bool))
    if "ballot" in n.parts:
        m.write(n.operands[0], "b32", ballot)
    else:
        rules = {"all": ballot == whole, "any": ballot != 0, "uni": (ballot == whole) | (ballot == 0)}
        m.write(n.operands[0], "pred", next(rules[p] for p in n.parts if p in rules))


def _reduce(m: Machine, n: Instruction, type: str) -> None:
    _members(m, m.read(n.operands[2], "u32"))
    x = m.read(n.operands[1], type)
    rules = {"add": np.add, "min": np.minimum, "max": np.maximum, "and": np.bitwise_and, "or": np.bitwise_or,
             "xor": np.bitwise_xor}  # fmt: skip
    rule = next(rules[p] for p in n.parts if p in rules)
    found = np.zeros(int(m.warp_of[-1]) + 1, x.dtype)
    for w in np.unique(m.warp_of[m.lanes]):
        found[w] = rule.reduce(x[m.warp_of[m.lanes] == w])
    m.write(n.operands[0], type, found[m.warp_of[m.lanes]])
