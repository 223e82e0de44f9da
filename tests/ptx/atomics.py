"""``atom`` and ``red``: one thread after the other, in the order of their numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import PtxError
from .syntax import Instruction, Register
from .values import NUMBERS, RAW, bits_of, decode, encode

if TYPE_CHECKING:
    from .machine import Machine

Array = Any
UPDATES: dict[str, Callable[..., Array]] = {
    "add": lambda old, x: old + x, "min": np.minimum, "max": np.maximum, "exch": lambda old, x: x,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
    "cas": lambda old, x, y: np.where(old == x, y, old), "inc": lambda old, x: np.where(old >= x, 0, old + 1),
    "dec": lambda old, x: np.where((old == 0) | (old > x), x, old - 1),
}  # fmt: skip
IN_PLACE: dict[str, Any] = {"add": np.add, "min": np.minimum, "max": np.maximum, "and": np.bitwise_and,
                            "or": np.bitwise_or, "xor": np.bitwise_xor}  # fmt: skip


def update(m: Machine, n: Instruction, type: str) -> None:
    operands = n.operands if n.parts[0] == "atom" else (Register("_"), *n.operands)
    space, addresses = m.spaces.space_of(n, m.addresses(operands[1]))
    name = next((p for p in n.parts if p in UPDATES), "")
    if not name or bits_of(type) > 64:
        raise PtxError("unknown_instruction", str(n))
    values = [m.read(o, type) for o in operands[2:]]
    old, who, width = np.empty(len(addresses), RAW[bits_of(type)]), m.spaces.who(), bits_of(type) // 8
    wanted = operands[0] != Register("_")
    for region in m.spaces.regions(space, addresses, width):
        if not region.can_write or region.shadow is None:
            raise PtxError("out_of_bounds", f"an atomic on {space} memory, which is constant")
        region.shadow.update(region.at, width, who.at(region.chosen))
        cells = region.data.view(RAW[bits_of(type)])
        old[region.chosen] = _apply(cells, region.at // width, name, type, [v[region.chosen] for v in values], wanted)
    if wanted:
        m.write(operands[0], type, decode(old, type))


def _apply(cells: Array, at: Array, name: str, type: str, values: list[Array], wanted: bool) -> Array:
    """The new contents of ``cells[at]``; what was there before each update."""
    if len(np.unique(at)) == len(at):
        old = cells[at]
        cells[at] = encode(UPDATES[name](decode(old, type), *values), type)
        return old
    if not wanted and name in IN_PLACE and type in NUMBERS and type != "f16":
        IN_PLACE[name].at(cells.view(NUMBERS[type]), at, values[0])
        return cells[at]
    old = np.empty(len(at), cells.dtype)
    for i, cell in enumerate(at.tolist()):
        old[i] = cells[cell]
        one = decode(old[i : i + 1], type)
        cells[cell] = encode(UPDATES[name](one, *(v[i : i + 1] for v in values)), type)[0]
    return old
