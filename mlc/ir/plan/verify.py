"""Checks a Plan: every index known, every place inside its buffer, nothing written that is read-only."""

from __future__ import annotations

from collections.abc import Sequence

from mlc.errors import VerifyError
from mlc.ir.dims import Dim, Size, bounds

from .collective import block_counts
from .data import (
    COLLECTIVE_SLOTS,
    COLLECTIVES,
    REDUCTIONS,
    Branch,
    BufferRef,
    CollectiveDone,
    CollectiveStart,
    Copy,
    Launch,
    Loop,
    Plan,
    Progress,
    Step,
    Value,
    byte_size,
    device_of,
    parts_of,
    walk_steps,
)  # fmt: skip

MAX_RANK = 32
MAX_BYTES = 1 << 56  # of the arena, of scratch, of an offset
ALIGNMENT = 64
MAX_NESTING = 32  # of loops and branches
MAX_DEVICES = 64
MAX_THREADS = 1024  # of a block
MAX_SHARED_BYTES = 1 << 20  # of a block; devices have less


def verify_plan(plan: Plan) -> None:
    """Raise VerifyError, naming the constraint and the step, for a Plan that the runtime would refuse or misuse.

    Not checked: what kernels do with their operands, and whether steps that touch the same bytes have a barrier.
    """
    _check_symbols(plan)
    _check_devices(plan)
    _check_values(plan)
    _check_donations(plan)
    worlds = {sum(map(len, s.groups)) for s in walk_steps(plan.steps) if isinstance(s, CollectiveStart)}
    _require(len(worlds) <= 1, f"collectives are of worlds of {' and '.join(map(str, sorted(worlds)))} ranks")
    work: list[tuple[Step, int]] = [(step, 0) for step in reversed(plan.steps)]
    number = 0
    while work:
        step, depth = work.pop()
        where = f"step {number}" + (f" ({step.label})" if step.label else "")
        number += 1
        _require("\0" not in step.label, f"{where}: the label holds a NUL")
        _require(depth <= MAX_NESTING, f"{where}: loops and branches are nested too deep")
        if isinstance(step, Copy):
            _check_copy(plan, step, where)
        elif isinstance(step, Launch):
            _check_launch(plan, step, where)
        elif isinstance(step, CollectiveStart):
            _check_collective(plan, step, where)
        elif isinstance(step, CollectiveDone):
            _require(0 <= step.slot < COLLECTIVE_SLOTS, f"{where}: unknown slot {step.slot}")
        elif not isinstance(step, Progress):
            _check_nest(plan, step, where)
        for part in reversed(parts_of(step)):
            work.extend((inner, depth + 1) for inner in reversed(part))


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise VerifyError(message)


def _check_symbols(plan: Plan) -> None:
    names = [s.name for s in plan.symbols]
    _require(len(set(names)) == len(names), "two symbols have the same name")
    found = {extent for value in plan.inputs for extent in value.type.shape}
    for symbol in plan.symbols:
        _require(0 <= symbol.lower <= symbol.upper < 1 << 63, f"symbol {symbol.name}: its bounds hold no size")
        _require(Dim({(symbol,): 1}) in found, f"symbol {symbol.name} is no dimension of any input")


def _check_devices(plan: Plan) -> None:
    _require(len(plan.devices) <= MAX_DEVICES, f"more than {MAX_DEVICES} devices")
    names = [d.name for d in plan.devices]
    _require(len(set(names)) == len(names), "two devices have the same name")
    for device in plan.devices:
        where = f"device {device.name!r}"
        _require("\0" not in device.name + device.target, f"{where}: a name holds a NUL")
        _require(bool(device.target) and " " not in device.target, f"{where}: target {device.target!r} is no name")
        _require(0 <= device.arena_bytes <= MAX_BYTES, f"{where}: the arena's size {device.arena_bytes}")


def _check_values(plan: Plan) -> None:
    values: tuple[Value, ...] = (*plan.inputs, *plan.outputs, *plan.constants)
    for value in values:
        _require(value.type.rank <= MAX_RANK, f"{value.name}: more than {MAX_RANK} dimensions")
        _require(0 <= value.device <= len(plan.devices), f"{value.name}: unknown device {value.device}")
        for extent in value.type.shape:
            _check_size(plan, extent, value.name)
            _require(bounds(extent)[1] >= 0, f"{value.name}: dimension {extent} is negative")
    for constant in plan.constants:
        _require(constant.type.is_static, f"constant {constant.name}: {constant.type} is not static")
        nbytes = bounds(byte_size(constant.type))[1]
        _require(nbytes < 1 << 63, f"constant {constant.name}: {constant.type} is too large")
    for name in (plan.name, *plan.kernels, *(v.name for v in values)):
        _require("\0" not in name, f"name {name!r} holds a NUL")
    _require(0 <= plan.arena_bytes <= MAX_BYTES, f"the arena's size {plan.arena_bytes}")
    _require(0 <= plan.scratch_bytes <= MAX_BYTES, f"the scratch size {plan.scratch_bytes}")


def _check_size(plan: Plan, size: Size, where: str) -> None:
    if isinstance(size, Dim):
        unknown = set(size.symbols) - set(plan.symbols)
        _require(not unknown, f"{where}: size {size} names unknown symbols {sorted(s.name for s in unknown)}")
        _require(all(-(1 << 63) <= c < 1 << 63 for _, c in size.terms), f"{where}: size {size} does not fit 64 bits")
    else:
        _require(-(1 << 63) <= size < 1 << 63, f"{where}: size {size} does not fit 64 bits")


def _check_donations(plan: Plan) -> None:
    taken: set[int] = set()
    for value in plan.inputs:
        target = value.donated_to
        if target is None:
            continue
        _require(0 <= target < len(plan.outputs), f"input {value.name} is donated to unknown output {target}")
        _require(target not in taken, f"output {target} takes over two inputs")
        taken.add(target)
        output = plan.outputs[target]
        _require(
            value.device == output.device,
            f"input {value.name} is donated to output {output.name}, which is on another device",
        )
        _require(
            byte_size(value.type) == byte_size(output.type),
            f"input {value.name}: {value.type} is donated to output {output.name}: {output.type} of another size",
        )


def _check_launch(plan: Plan, step: Launch, where: str) -> None:
    _require(0 <= step.kernel < len(plan.kernels), f"{where}: unknown kernel {step.kernel}")
    for operand in step.operands:
        _check_operand(plan, operand, where)
    _check_device(plan, step, where)
    for size in step.sizes:
        _check_size(plan, size, where)
    for extent, grain in step.tasks:
        _check_size(plan, extent, where)
        _require(1 <= grain < 1 << 63, f"{where}: grain {grain} is below 1 or too large")
    total = 1
    for extent, grain in step.tasks:
        if not isinstance(extent, Dim):
            total *= max(-(-extent // grain), 0)
        _require(total < 1 << 63, f"{where}: the number of tasks does not fit 64 bits")


def _check_device(plan: Plan, step: Launch, where: str) -> None:
    """A launch on a device is put on its stream by one worker, with operands in its memory."""
    _require(0 <= step.device <= len(plan.devices), f"{where}: unknown device {step.device}")
    for operand in step.operands:
        here = device_of(plan, operand) == step.device
        _require(here, f"{where}: {operand} is not in the memory of device {step.device}")
    if step.device:
        _require(step.serial, f"{where}: a launch on a device is not serial")
        _require(1 <= step.threads <= MAX_THREADS, f"{where}: {step.threads} threads")
        _require(0 <= step.shared_bytes <= MAX_SHARED_BYTES, f"{where}: {step.shared_bytes} bytes of shared memory")
    else:
        _require(step.threads == step.shared_bytes == 0, f"{where}: threads and shared memory on the host")


def _check_operand(plan: Plan, operand: BufferRef, where: str) -> None:
    counts = {
        "input": len(plan.inputs), "output": len(plan.outputs), "constant": len(plan.constants),
        "arena": 1 + len(plan.devices),
    }  # fmt: skip
    _require(0 <= operand.index < counts.get(operand.space, 0), f"{where}: unknown buffer {operand}")
    limit = min(bounds(_buffer_bytes(plan, operand))[1], MAX_BYTES)
    _require(0 <= operand.offset <= limit, f"{where}: {operand} lies outside its buffer")


def _buffer_bytes(plan: Plan, operand: BufferRef) -> Size:
    if operand.space == "arena":
        return plan.devices[operand.index - 1].arena_bytes if operand.index else plan.arena_bytes
    spaces: dict[str, Sequence[Value]] = {"input": plan.inputs, "output": plan.outputs, "constant": plan.constants}
    return byte_size(spaces[operand.space][operand.index].type)


def _check_copy(plan: Plan, step: Copy, where: str) -> None:
    _check_size(plan, step.nbytes, where)
    for operand in (step.destination, step.source):
        _check_operand(plan, operand, where)
        room = _buffer_bytes(plan, operand) - step.nbytes - operand.offset
        _require(bounds(room)[0] >= 0, f"{where}: {step.nbytes} bytes at {operand} lie outside its buffer")
    _require(bounds(step.nbytes)[1] >= 0, f"{where}: a negative number of bytes")
    on_host = not any(device_of(plan, p) for p in (step.destination, step.source))
    _require(on_host or step.serial, f"{where}: a copy from or to a device is not serial")
    _require(_is_writable(plan, step.destination), f"{where}: {step.destination} is read-only")


def _check_collective(plan: Plan, step: CollectiveStart, where: str) -> None:
    _require(step.kind in COLLECTIVES, f"{where}: unknown collective {step.kind}")
    _require(step.reduction in REDUCTIONS, f"{where}: unknown reduction {step.reduction}")
    _require(0 <= step.slot < COLLECTIVE_SLOTS, f"{where}: unknown slot {step.slot}")
    _require(bool(step.groups) and bool(step.groups[0]), f"{where}: no ranks")
    ranks = [rank for group in step.groups for rank in group]
    _require(sorted(ranks) == list(range(len(ranks))), f"{where}: the groups do not hold each rank once")
    members = len(step.groups[0])
    _require(all(len(group) == members for group in step.groups), f"{where}: the groups differ in size")
    _require(0 <= step.root < members, f"{where}: root {step.root} is no member of a group")
    _check_size(plan, step.count, where)
    _require(bounds(step.count)[1] >= 0, f"{where}: a negative number of elements")
    one = device_of(plan, step.source) == device_of(plan, step.destination)
    _require(one, f"{where}: {step.source} and {step.destination} are in the memory of two devices")
    for operand, elements in zip((step.source, step.destination), block_counts(step), strict=True):
        _check_operand(plan, operand, where)
        nbytes = elements * step.dtype.itemsize
        room = _buffer_bytes(plan, operand) - nbytes - operand.offset
        _require(bounds(room)[0] >= 0, f"{where}: {nbytes} bytes at {operand} lie outside its buffer")
    _require(_is_writable(plan, step.destination), f"{where}: {step.destination} is read-only")


def _check_nest(plan: Plan, step: Loop | Branch, where: str) -> None:
    place, nbytes = (step.predicate, 1) if isinstance(step, Loop) else (step.index, 4)
    _check_operand(plan, place, where)
    room = _buffer_bytes(plan, place) - nbytes - place.offset
    _require(bounds(room)[0] >= 0, f"{where}: {nbytes} bytes at {place} lie outside its buffer")
    _require(isinstance(step, Loop) or bool(step.branches), f"{where}: a branch to nowhere")


def _is_writable(plan: Plan, operand: BufferRef) -> bool:
    if operand.space == "input":
        return plan.inputs[operand.index].donated_to is not None
    return operand.space != "constant"
