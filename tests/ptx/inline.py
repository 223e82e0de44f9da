"""Calls are replaced by the bodies of what they call, with names of their own: a kernel then needs no stack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from .errors import PtxError
from .syntax import Address, Instruction, Kernel, Names, Negated, Operand, Pair, Register, Symbol, Vector

DEPTH = 8


def without_calls(kernel: Kernel, functions: Mapping[str, Kernel], depth: int = 0) -> Kernel:
    """The same kernel with every ``call`` expanded; PtxError for functions without a body, pointers and recursion."""
    found = replace(kernel, variables=list(kernel.variables), registers=dict(kernel.registers), code=[], labels={})
    found.tables = dict(kernel.tables)
    starts = []
    for n in kernel.code:
        starts.append(len(found.code))
        if n.parts[0] == "call":
            _expand(found, n, functions, depth)
        else:
            found.code.append(n)
    starts.append(len(found.code))
    found.labels.update((label, starts[at]) for label, at in kernel.labels.items())
    in_local = {v.name for v in found.variables if v.space == "local"}
    found.code = [_of_parameters(n, in_local) for n in found.code]
    return found


def _expand(into: Kernel, call: Instruction, functions: Mapping[str, Kernel], depth: int) -> None:
    names = [o for o in call.operands if isinstance(o, Names)]
    callee = next((o.name for o in call.operands if isinstance(o, Symbol)), "")
    if callee not in functions or not functions[callee].code or depth == DEPTH or call.guard is not None:
        raise PtxError(
            "unknown_instruction", f"a call of {callee or 'a pointer'} that has no body here", line=call.line
        )
    function = without_calls(functions[callee], functions, depth + 1)
    results = names[0].names if function.results else ()
    given = names[-1].names if function.parameters else ()
    prefix = f"{callee}#{len(into.code)}:"
    bound = dict(zip((v.name for v in (*function.results, *function.parameters)), (*results, *given), strict=True))
    own = {v.name for v in function.variables} | set(function.labels) | set(function.tables)
    bound.update({name: prefix + name for name in own})

    def renamed(name: str) -> str:
        return prefix + name if name in function.registers else bound.get(name, name)

    begin, end = len(into.code), f"{prefix}end"
    for n in function.code:
        done = n.parts[0] == "ret"
        operands = (Symbol(end),) if done else tuple(_renamed(o, renamed) for o in n.operands)
        guard = None if n.guard is None else _renamed(n.guard, renamed)
        assert guard is None or isinstance(guard, Register | Negated)
        into.code.append(Instruction(("bra",) if done else n.parts, operands, n.line, guard))
    into.labels.update((prefix + label, begin + at) for label, at in function.labels.items())
    into.labels[end] = len(into.code)
    into.tables.update((prefix + k, tuple(map(renamed, v))) for k, v in function.tables.items())
    into.registers.update((prefix + name, kind) for name, kind in function.registers.items())
    into.variables += [replace(v, name=prefix + v.name) for v in function.variables]


def _renamed(operand: Operand, rename: Callable[[str], str]) -> Operand:
    if isinstance(operand, Register):
        return Register(rename(operand.name))
    if isinstance(operand, Symbol):
        return Symbol(rename(operand.name))
    if isinstance(operand, Negated):
        return Negated(Register(rename(operand.register.name)))
    if isinstance(operand, Pair):
        return Pair(Register(rename(operand.value.name)), Register(rename(operand.predicate.name)))
    if isinstance(operand, Vector):
        return Vector(tuple(Register(rename(e.name)) if isinstance(e, Register) else e for e in operand.elements))
    if isinstance(operand, Address):
        base = _renamed(operand.base, rename)
        assert isinstance(base, Register | Symbol) or base is operand.base
        return Address(base, operand.offset)
    return operand


def _of_parameters(n: Instruction, in_local: set[str]) -> Instruction:
    """``st.param`` and ``ld.param`` of a call's own variables are accesses of local memory."""
    bases = [o.base.name for o in n.operands if isinstance(o, Address) and isinstance(o.base, Symbol)]
    if "param" not in n.parts or not in_local.intersection(bases):
        return n
    return replace(n, parts=tuple("local" if p == "param" else p for p in n.parts))
