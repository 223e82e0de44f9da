"""Removes what nothing reads: instructions without effect, loops without stores whose results are unused."""

from __future__ import annotations

from dataclasses import replace

from mlc.ir.kernel import IndexVariable, Instruction, Kernel, Loop, Role, Statement, Value, While, walk


def remove_dead(kernel: Kernel) -> Kernel:
    """Stores stay, and all that they need."""
    return kernel.with_body(_live(kernel.body, set()))


def _live(body: tuple[Statement, ...], used: set[int | IndexVariable]) -> tuple[Statement, ...]:
    """Walks backwards; ``used`` holds ids of values and index variables that are read later, and grows."""
    kept: list[Statement] = []
    for s in reversed(body):
        if isinstance(s, Loop):
            loop = _live_loop(s, used)
            if loop is not None:
                kept.append(loop)
        elif isinstance(s, While):
            kept += _live_while(s, used)
        elif isinstance(s, Role):
            kept.append(replace(s, body=_live(s.body, used)))
        elif s.has_effect or _name(s.result) in used:
            _use(s, used)
            kept.append(s)
    return tuple(reversed(kept))


def _live_loop(loop: Loop, used: set[int | IndexVariable]) -> Loop | None:
    if not _has_effect(loop) and not any(r.id in used for r in loop.results):
        return None
    wanted = _carried(loop, used)
    columns = zip(loop.initial, loop.arguments, loop.yields, loop.results, strict=True)
    kept = [c for c in columns if c[1].id in wanted]
    used |= {c[2].id for c in kept}
    body = _live(loop.body, used)
    used |= {c[0].id for c in kept} | loop.lower.variables | loop.upper.variables
    initial, arguments, yields, results = zip(*kept, strict=True) if kept else ((), (), (), ())
    return replace(loop, body=body, initial=initial, arguments=arguments, yields=yields, results=results)


def _live_while(loop: While, used: set[int | IndexVariable]) -> list[While]:
    if not _has_effect(loop) and not any(r.id in used for r in loop.results):
        return []
    used |= {v.id for v in (*loop.initial, *loop.yields, loop.condition)}
    body = _live(loop.body, used)
    return [replace(loop, test=_live(loop.test, used), body=body)]


def _has_effect(loop: Loop | While) -> bool:
    return any(isinstance(s, Instruction) and s.has_effect for s in walk((loop,)))


def _carried(loop: Loop, used: set[int | IndexVariable]) -> set[int]:
    """Ids of the arguments that a store, a used result or another such argument needs."""
    wanted = {a.id for a, r in zip(loop.arguments, loop.results, strict=True) if r.id in used}
    while True:
        inside: set[int | IndexVariable] = set(used)
        inside |= {y.id for a, y in zip(loop.arguments, loop.yields, strict=True) if a.id in wanted}
        _live(loop.body, inside)
        grown = wanted | {a.id for a in loop.arguments if a.id in inside}
        if grown == wanted:
            return wanted
        wanted = grown


def _use(n: Instruction, used: set[int | IndexVariable]) -> None:
    used |= {v.id for v in n.operands}
    for i in n.indices + n.source_indices:
        used |= i.variables


def _name(result: Value | IndexVariable | None) -> int | IndexVariable | None:
    return result.id if isinstance(result, Value) else result
