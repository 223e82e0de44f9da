"""The statements of a kernel as LLVM IR, in what all targets share: loops, values and index arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlc.codegen import values
from mlc.codegen.addresses import Addresses
from mlc.codegen.lines import Lines, Scope
from mlc.codegen.memory import Accesses
from mlc.codegen.names import constant, typed
from mlc.codegen.trips import Trips
from mlc.errors import InternalError
from mlc.ir.kernel import (
    TOKEN,
    Index,
    IndexVariable,
    Instruction,
    Kernel,
    Loop,
    Role,
    Statement,
    Value,
    VectorType,
    While,
)
from mlc.ir.kernel.machine import MACHINE_OPS
from mlc.ir.kernel.ops import ELEMENTWISE


@dataclass
class _Frame:
    """An open loop: labels and operands that its closing needs."""

    body: str
    exit: str
    before: str
    index: str
    following: str
    lower: str
    upper: str
    step: str
    guarded: bool
    phis: list[str]
    kind: str
    once: bool


class Body:
    """Appends to ``out`` what statements do; ``operands`` names the values that are defined so far.

    A target adds its signature and its parallel loops, and what only it has: roles of threads and their operations,
    dot products of neighbours.
    """

    def __init__(self, kernel: Kernel, out: Lines, addresses: Addresses, accesses: Accesses) -> None:
        self.kernel = kernel
        self.out = out
        self.addresses = addresses
        self.accesses = accesses
        self.operands = accesses.operands
        self.frames: list[_Frame] = []
        self.trips = Trips(kernel)

    def role(self, role: Role) -> None:
        raise InternalError(f"codegen: role {role.name} is of threads of a block, which this target has not")

    def machine(self, n: Instruction) -> None:
        raise InternalError(f"codegen: {n.op} is an operation of a block of threads, which this target has not")

    def dot(self, n: Instruction) -> str:
        raise InternalError(f"codegen: {n.op} should have been expanded by a kernel pass")

    def tail_mask(self, start: str, stop: str, lanes: int) -> str:
        return values.tail_mask(self.out, start, stop, lanes)

    # Statements

    def count(self, extent: Index, grain: int) -> str:
        if extent.constant is not None:
            return str(-(-extent.constant // grain))
        operand = self.addresses.index(extent)
        return self.out.let(f"udiv i64 {self.out.let(f'add i64 {operand}, {grain - 1}')}, {grain}")

    def block(self, body: tuple[Statement, ...]) -> None:
        for statement in body:
            if isinstance(statement, Loop):
                self.loop(statement)
            elif isinstance(statement, While):
                self.while_(statement)
            elif isinstance(statement, Role):
                self.role(statement)
            else:
                self.instruction(statement)

    # Loops are emitted with their test at the end; a test in front only where no iteration is possible, and none at
    # the end where there is one at most.

    def loop(self, loop: Loop) -> None:
        kind = self.kind_of(loop)
        lower, upper = self.addresses.index(loop.lower, kind), self.addresses.index(loop.upper, kind)
        least = (loop.upper - loop.lower).constant
        if least is not None and least <= 0:
            for r, initial in zip(loop.results, loop.initial, strict=True):
                self.operands[r.id] = self.operands[initial.id]
            return
        carried = [(a, self.operands[i.id]) for a, i in _held(loop.arguments, loop.initial)]
        self.operands.update((a.id, "") for a in loop.arguments if a.dtype == TOKEN)
        once = self.runs_at_most_once(loop)
        index = self.open(lower, upper, str(loop.step), least is None, carried, kind, once)
        self.addresses.define(loop.index, index, kind)
        self.block(loop.body)
        pairs = _held(loop.results, loop.yields)
        self.close([v for _, v in carried], [self.operands[y.id] for _, y in pairs], [r for r, _ in pairs])
        self.operands.update((r.id, "") for r in loop.results if r.dtype == TOKEN)

    def while_(self, loop: While) -> None:
        """The test is the loop's head; what it carries keeps its names behind the loop."""
        out, before = self.out, self.out.current_label
        head, body, exit_ = out.fresh("test"), out.fresh("body"), out.fresh("exit")
        initial = [self.operands[v.id] for v in loop.initial]
        names = [out.fresh("carried") for _ in loop.arguments]
        self.operands.update(zip((a.id for a in loop.arguments), names, strict=True))
        out.scopes.append(Scope(label=head))
        self.block(loop.test)
        out.add(f"br i1 {self.operands[loop.condition.id]}, label {body}, label {exit_}")
        out.label(body)
        self.block(loop.body)
        latch, scope = out.current_label, out.scopes.pop()
        out.add(f"br label {head}")
        out.scopes[-1].lines.append(f"{head[1:]}:")
        for name, argument, start, y in zip(names, loop.arguments, initial, loop.yields, strict=True):
            out.add(f"{name} = phi {typed(argument.type)} [ {start}, {before} ], [ {self.operands[y.id]}, {latch} ]")
        out.scopes[-1].lines += scope.lines
        out.add(f"br label {head}")
        out.label(exit_)
        self.operands.update(zip((r.id for r in loop.results), names, strict=True))

    def runs_at_most_once(self, loop: Loop) -> bool:
        return self.trips.at_most_once(loop)

    def kind_of(self, loop: Loop) -> str:
        """The type of a loop's index."""
        return "i64"

    def open(
        self,
        lower: str,
        upper: str,
        step: str,
        guarded: bool,
        carried: Sequence[tuple[Value, str]] = (),
        kind: str = "i64",
        once: bool = False,
    ) -> str:
        out, before = self.out, self.out.current_label
        body, exit_ = out.fresh("loop"), out.fresh("exit")
        out.scopes.append(Scope(label=body))
        index, following, phis = lower, "", list[str]()
        if once:
            self.operands.update((argument.id, initial) for argument, initial in carried)
        else:
            index, following = out.fresh("i"), out.fresh("next")
            phis = [f"{index} = phi {kind} [ {lower}, {before} ], [ {following}, LATCH ]"]
            for number, (argument, initial) in enumerate(carried):
                name = out.fresh("carried")
                self.operands[argument.id] = name
                phis.append(f"{name} = phi {typed(argument.type)} [ {initial}, {before} ], [ YIELD{number}., LATCH ]")
        frame = _Frame(body, exit_, before, index, following, lower, upper, step, guarded, phis, kind, once)
        self.frames.append(frame)
        return index

    def close(self, initial: list[str], yields: list[str], results: list[Value]) -> None:
        """Splices the body's lines behind what was hoisted before it."""
        out, frame = self.out, self.frames.pop()
        latch, scope = out.current_label, out.scopes.pop()
        self.enter(frame)
        for phi in frame.phis:
            for number, y in enumerate(yields):
                phi = phi.replace(f"YIELD{number}.", y)
            out.add(phi.replace("LATCH", latch))
        out.scopes[-1].lines += scope.lines
        if frame.once:
            out.add(f"br label {frame.exit}")
        else:
            out.add(f"{frame.following} = add nsw {frame.kind} {frame.index}, {frame.step}")
            again = out.let(f"icmp slt {frame.kind} {frame.following}, {frame.upper}")
            out.add(f"br i1 {again}, label {frame.body}, label {frame.exit}")
        out.label(frame.exit)
        for r, i, y in zip(results, initial, yields, strict=True):
            skipped = f"[ {i}, {frame.before} ], " if frame.guarded else ""
            self.operands[r.id] = out.let(f"phi {typed(r.type)} {skipped}[ {y}, {latch} ]")

    def enter(self, frame: _Frame) -> None:
        out = self.out
        if frame.guarded:
            some = out.let(f"icmp slt {frame.kind} {frame.lower}, {frame.upper}")
            out.add(f"br i1 {some}, label {frame.body}, label {frame.exit}")
        else:
            out.add(f"br label {frame.body}")
        out.scopes[-1].lines.append(f"{frame.body[1:]}:")

    # Instructions

    def instruction(self, n: Instruction) -> None:
        if n.op in MACHINE_OPS:
            self.machine(n)
        elif n.writes_memory:
            self.accesses.write(n)
        elif isinstance(n.result, Value):
            self.operands[n.result.id] = self.accesses.read(n) if n.reads_memory else self.value(n)
        elif n.result is not None:
            self.index_instruction(n, n.result)

    def value(self, n: Instruction) -> str:
        out, result = self.out, n.value.type
        operands = [self.operands[v.id] for v in n.operands]
        types = [v.type for v in n.operands]
        if n.op in ELEMENTWISE or n.op in ("compare", "select", "convert"):
            return self.lanewise(n, operands, types, result)
        match n.op, n.attribute:
            case "constant", int() | tuple() as bits:
                return constant(bits, result)
            case "iota", _:
                return values.iota(result)
            case "splat", _:
                return values.splat(out, operands[0], result)
            case "bitcast", _:
                return values.bitcast(out, operands[0], types[0], result)
            case "reduce", str() as op:
                return values.reduce(out, op, operands[0], types[0])
            case (("dot2" | "dot4"), _):
                return self.dot(n)
            case "shuffle", tuple() as lanes:
                return values.shuffle(out, operands[0], operands[1], types[0], lanes)
            case "extract", int() as lane:
                return values.extract(out, operands[0], types[0], lane)
            case "insert", int() as lane:
                return values.insert(out, operands[0], types[0], operands[1], lane)
            case "tail_mask", _:
                start, stop = map(self.addresses.index, n.indices)
                return self.tail_mask(start, stop, result.lanes)
            case "index_value", _:
                index = self.addresses.index(n.indices[0])
                return index if result.dtype.bits == 64 else out.let(f"trunc i64 {index} to {typed(result)}")
        raise AssertionError(f"{n.op} passed the verifier")

    def lanewise(self, n: Instruction, operands: list[str], types: list[VectorType], result: VectorType) -> str:
        """What is computed of each lane alone, over operands and a result of these types."""
        match n.op, n.attribute:
            case "compare", str() as direction:
                return values.compare(self.out, direction, types[0], operands[0], operands[1])
            case "select", _:
                return values.select(self.out, operands[0], result, operands[1], operands[2])
            case "convert", _:
                return values.convert(self.out, operands[0], types[0], result)
        return values.elementwise(self.out, n.op, types[0], operands)

    def index_instruction(self, n: Instruction, result: IndexVariable) -> None:
        self.addresses.define(result, self.index_result(n))

    def index_result(self, n: Instruction) -> str:
        out = self.out
        if n.op == "index_of":
            v = n.operands[0]
            if v.dtype.bits == 64:
                return self.operands[v.id]
            extension = "sext" if v.dtype.kind == "int" else "zext"
            return out.let(f"{extension} {typed(v.type)} {self.operands[v.id]} to i64")
        x, y = map(self.addresses.index, n.indices)
        if n.op in ("min", "max"):
            return out.call("i64", f"llvm.s{n.op}.i64", [("i64", x), ("i64", y)])
        divisor = n.indices[1].constant
        if divisor is not None and divisor & (divisor - 1) == 0:
            if n.op == "mod":
                return out.let(f"and i64 {x}, {divisor - 1}")
            return out.let(f"ashr i64 {x}, {divisor.bit_length() - 1}")
        remainder = out.let(f"srem i64 {x}, {y}")  # of the sign of x; the divisor is positive
        negative = out.let(f"icmp slt i64 {remainder}, 0")
        positive = out.let(f"add i64 {remainder}, {y}")
        modulus = out.let(f"select i1 {negative}, i64 {positive}, i64 {remainder}")
        if n.op == "mod":
            return modulus
        return out.let(f"sdiv i64 {out.let(f'sub i64 {x}, {modulus}')}, {y}")


def _held(values: Sequence[Value], others: Sequence[Value]) -> list[tuple[Value, Value]]:
    """The pairs that registers hold: tokens say what waits for what, in text alone."""
    return [(v, other) for v, other in zip(values, others, strict=True) if v.dtype != TOKEN]
