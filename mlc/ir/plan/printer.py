"""Plan to text, one line a step. ``parse`` reads it back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import count

from .data import Branch, CollectiveDone, CollectiveStart, Copy, Launch, Loop, Plan, Progress, Step, Value


def print_plan(plan: Plan) -> str:
    """The Plan as text.

    Example:
        >>> from mlc.ir.plan import Plan, print_plan
        >>> print(print_plan(Plan("nothing", (), (), (), (), 0, 0, (), ())))
        plan nothing: arena 0 bytes, scratch 0 bytes
    """
    return "\n".join(_lines(plan))


def quoted(text: str) -> str:
    """A name or label as it stands in the text: in quotes where a line could not be read back otherwise."""
    plain = text.isprintable() and text == text.strip() and text[:1] != '"' and ": " not in text and "  # " not in text
    return text if plain and text else json.dumps(text)


def _lines(plan: Plan) -> Iterator[str]:
    yield f"plan {quoted(plan.name)}: arena {plan.arena_bytes} bytes, scratch {plan.scratch_bytes} bytes"
    for symbol in plan.symbols:
        yield f"  symbol {quoted(symbol.name)} in {symbol.lower}..{symbol.upper}"
    for i, device in enumerate(plan.devices):
        yield f"  device{i + 1} {quoted(device.name)}: {device.target}, arena {device.arena_bytes} bytes"
    for i, value in enumerate(plan.inputs):
        donated = f", donated to output{value.donated_to}" if value.donated_to is not None else ""
        yield f"  input{i} {quoted(value.name)}: {value.type}{_place(value)}{donated}"
    for i, output in enumerate(plan.outputs):
        yield f"  output{i} {quoted(output.name)}: {output.type}{_place(output)}"
    for i, constant in enumerate(plan.constants):
        yield f"  constant{i} {quoted(constant.name)}: {constant.type}{_place(constant)}"
    yield from _print_steps(plan, plan.steps, "  ", count())


def _place(value: Value) -> str:
    return f" on device{value.device}" if value.device else ""


def _print_steps(plan: Plan, steps: Sequence[Step], indent: str, numbers: Iterator[int]) -> Iterator[str]:
    for step in steps:
        yield f"{indent}{next(numbers):3d} {_print_step(plan, step)}"
        if isinstance(step, Loop):
            yield from _print_steps(plan, step.body, indent + "  ", numbers)
        elif isinstance(step, Branch):
            for i, branch in enumerate(step.branches):
                yield f"{indent}    branch {i}:"
                yield from _print_steps(plan, branch, indent + "  ", numbers)


def _print_step(plan: Plan, step: Step) -> str:
    if isinstance(step, Loop | Branch):
        text = f"loop while {step.predicate}:" if isinstance(step, Loop) else f"branch by {step.index}:"
        return text + (f"  # {quoted(step.label)}" if step.label else "")
    if isinstance(step, Progress):
        text, barrier = "progress", ""
    else:
        text, barrier = _print_plain(plan, step), "barrier; " if step.barrier else ""
    return f"{barrier}{text}" + (f"  # {quoted(step.label)}" if step.label else "")


def _print_plain(plan: Plan, step: Launch | Copy | CollectiveStart | CollectiveDone) -> str:
    if isinstance(step, Copy):
        return _print_copy(step)
    if isinstance(step, Launch):
        return _print_launch(plan, step)
    return f"done {step.slot}" if isinstance(step, CollectiveDone) else _print_start(step)


def _print_copy(step: Copy) -> str:
    return f"{'serial ' if step.serial else ''}copy {step.destination} <- {step.source}, {step.nbytes} bytes"


def _print_start(step: CollectiveStart) -> str:
    """``start 0 all_reduce add arena+0 <- arena+0, 1024 f32 in [0,1] [2,3]``; a broadcast says its root."""
    how = {"all_reduce": step.reduction, "reduce_scatter": step.reduction, "collective_broadcast": f"from {step.root}"}
    words = ["start", str(step.slot), step.kind, *([how[step.kind]] if step.kind in how else [])]
    groups = " ".join(f"[{','.join(map(str, group))}]" for group in step.groups)
    return f"{' '.join(words)} {step.destination} <- {step.source}, {step.count} {step.dtype} in {groups}"


def _print_launch(plan: Plan, step: Launch) -> str:
    words = ["serial"] if step.serial else []
    words.append(f"{plan.kernels[step.kernel]}({', '.join(map(str, step.operands))})")
    if step.sizes:
        words.append(f"sizes [{', '.join(map(str, step.sizes))}]")
    if step.tasks:
        words.append("tasks " + " x ".join(f"{extent}/{grain}" for extent, grain in step.tasks))
    if step.device:
        words.append(f"on device{step.device} threads {step.threads} shared {step.shared_bytes}")
    return " ".join(words)
