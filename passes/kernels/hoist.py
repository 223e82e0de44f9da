"""Moves what a loop computes anew each time, and alike, in front of it."""

from __future__ import annotations

from dataclasses import replace

from mlc.ir.kernel import Index, IndexVariable, Instruction, Kernel, Loop, Role, Statement, While, defined, walk


def hoist_invariants(kernel: Kernel) -> Kernel:
    """Only pure operations move; loops whose bounds come from data are conditions, and keep what is in them."""
    data: set[object] = {s.result for s in walk(kernel.body) if isinstance(s, Instruction) and s.op == "index_of"}
    return kernel.with_body(_block(kernel.body, data))


def _block(body: tuple[Statement, ...], data: set[object]) -> tuple[Statement, ...]:
    result: list[Statement] = []
    for s in body:
        if isinstance(s, Loop):
            result += _loop(s, data)
        elif isinstance(s, While):
            result.append(replace(s, test=_block(s.test, data), body=_block(s.body, data)))
        elif isinstance(s, Role):
            result.append(replace(s, body=_block(s.body, data)))
        else:
            result.append(s)
    return tuple(result)


def _loop(loop: Loop, data: set[object]) -> list[Statement]:
    loop = replace(loop, body=_block(loop.body, data))
    if _depends(loop.lower, data) or _depends(loop.upper, data):
        return [loop]
    varies: set[object] = {loop.index, *(a.id for a in loop.arguments)}
    before: list[Statement] = []
    kept: list[Statement] = []
    for s in loop.body:
        if isinstance(s, Instruction) and _is_invariant(s, varies):
            before.append(s)
        else:
            varies |= _results(s)
            kept.append(s)
    return [*before, replace(loop, body=tuple(kept))]


def _is_invariant(n: Instruction, varies: set[object]) -> bool:
    if n.memory is not None or n.has_effect or n.op == "constant":  # constants are immediate
        return False
    return not any(v.id in varies for v in n.operands) and not any(_depends(i, varies) for i in n.indices)


def _depends(index: Index, names: set[object]) -> bool:
    return any(v in names for v in index.variables)


def _results(s: Statement) -> set[object]:
    return {r if isinstance(r, IndexVariable) else r.id for r in defined(s)}
