"""The registers of all threads: one NumPy array each, and which threads have written it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .errors import PtxError
from .syntax import Address, Negated, Number, Operand, Register, Symbol, Vector
from .values import RAW, bits_of, decode, encode

Array = Any


class Registers:
    """Values of operands for the threads ``lanes``, which the machine sets before each instruction."""

    def __init__(
        self,
        kinds: Mapping[str, str],
        special: Mapping[str, Array],
        address_of: Callable[[str], int],
        name_of: Callable[[int], str],
        threads: int,
    ) -> None:
        self.kinds, self.special, self.address_of, self.name_of = kinds, special, address_of, name_of
        self.threads = threads
        self.lanes = np.arange(threads)
        self.values: dict[str, Array] = {}
        self.defined: dict[str, Array] = {}  # of those that only some threads have written

    def _here(self, values: Array) -> Array:
        return values if len(self.lanes) == self.threads else values[self.lanes]

    # ---------------------------------------------------------------- reading

    def raw(self, register: Register) -> Array:
        """The bits that the threads here have in a register; not to be changed in place."""
        if register.name in self.special:
            return self._here(self.special[register.name])
        missing = self.missing(register)
        if missing is not None:
            thread = int(self.lanes[int(np.flatnonzero(missing)[0])])
            raise PtxError(
                "uninitialised", f"{register.name} is read before it is written", thread=self.name_of(thread)
            )
        return self._here(self.values[register.name])

    def missing(self, register: Register) -> Array | None:
        """Which of the threads here never wrote a register; None: all did."""
        if register.name in self.special:
            return None
        if register.name not in self.values:
            return np.ones(len(self.lanes), bool)
        defined = self.defined.get(register.name)
        if defined is None:
            return None
        found = ~self._here(defined)
        return found if found.any() else None

    def predicate(self, guard: Register | Negated) -> Array:
        return ~self.raw(guard.register) if isinstance(guard, Negated) else self.raw(guard)

    def read(self, operand: Operand, type: str) -> Array:
        """The values of an operand as numbers of ``type``, one for each thread that is here."""
        if isinstance(operand, Register):
            return decode(self.raw(operand), type)
        if isinstance(operand, Negated):
            return ~self.raw(operand.register)
        if isinstance(operand, Number):
            return self._number(operand, type)
        if isinstance(operand, Symbol):
            if operand.name in self.special:
                return decode(self._here(self.special[operand.name]), type)
            address = self.address_of(operand.name)
            return np.full(len(self.lanes), address % (1 << bits_of(type)), RAW[bits_of(type)])
        raise PtxError("unknown_instruction", f"operand {operand}")

    def _number(self, number: Number, type: str) -> Array:
        count = len(self.lanes)
        if type == "pred":
            return np.full(count, bool(number.bits))
        bits = bits_of(type)
        if number.width and number.width != bits:  # a float immediate of another width
            return np.full(count, number.as_float(), np.float32 if bits == 32 else np.float64)
        return decode(np.full(count, number.bits % (1 << bits), RAW[bits]), type)

    def addresses(self, operand: Operand) -> Array:
        """The 64-bit addresses of ``[...]``."""
        if not isinstance(operand, Address):
            raise PtxError("unknown_instruction", f"{operand} is no address")
        base = operand.base
        if isinstance(base, Register):
            found = self.raw(base).astype(np.uint64)
        else:
            start = base.bits if isinstance(base, Number) else self.address_of(base.name)
            found = np.full(len(self.lanes), start, np.uint64)
        return found + np.uint64(operand.offset % (1 << 64)) if operand.offset else found

    # ---------------------------------------------------------------- writing

    def write(self, operand: Operand, type: str, values: Array) -> None:
        """Numbers of ``type`` to a register, or column i to element i of a vector; wider registers are extended."""
        if isinstance(operand, Vector):
            for i, one in enumerate(operand.elements):
                self.write(one, type, values[:, i])
            return
        if not isinstance(operand, Register):
            raise PtxError("unknown_instruction", f"a result in {operand}")
        if operand.name == "_":
            return
        kind = self.kinds.get(operand.name)
        if kind is None:
            raise PtxError("unknown_instruction", f"{operand.name} is not declared")
        self._assign(operand.name, _widened(encode(values, type), type, kind))

    def _assign(self, name: str, raw: Array) -> None:
        if len(self.lanes) == self.threads:
            self.values[name] = raw.copy()
            self.defined.pop(name, None)
            return
        if name not in self.values:
            self.values[name] = np.zeros(self.threads, raw.dtype)
            self.defined[name] = np.zeros(self.threads, bool)
        self.values[name][self.lanes] = raw
        if name in self.defined:
            self.defined[name][self.lanes] = True
            if self.defined[name].all():
                del self.defined[name]

    def copy(self, to: Register, source: Register) -> None:
        """``mov`` where some threads have no value: LLVM's phis of undefined values; they have none in ``to`` then."""
        missing, before = self.missing(source), self.lanes
        assert missing is not None
        undefined = before[missing]
        self.lanes = before[~missing]
        if len(self.lanes):
            self._assign(to.name, _widened(self.raw(source), "b", self.kinds[to.name]))
        self.lanes = before
        if to.name in self.values and len(undefined):
            self.defined.setdefault(to.name, np.ones(self.threads, bool))[undefined] = False


def _widened(raw: Array, type: str, kind: str) -> Array:
    if kind == "pred":
        return raw.astype(bool)
    dtype = np.dtype(RAW[bits_of(kind)])
    if type[0] == "s" and raw.dtype != dtype:
        return raw.view(f"i{raw.itemsize}").astype(f"i{dtype.itemsize}").view(dtype)
    return raw.astype(dtype, copy=False)
