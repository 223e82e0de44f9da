"""Text to Plan: reads what ``print_plan`` writes, and refuses everything else by line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TypeVar

from mlc.errors import MlcError, ParseError, VerifyError
from mlc.ir.dims import Dim, Size, Symbol, dim
from mlc.ir.graph.lexer import Tokens
from mlc.ir.graph.type_reader import TypeReader
from mlc.ir.types import DTYPES, TensorType

from .data import (
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
    PlanConstant,
    PlanDevice,
    PlanInput,
    PlanOutput,
    Progress,
    Step,
)  # fmt: skip
from .verify import MAX_NESTING, verify_plan

T = TypeVar("T")
NAME = r'("(?:[^"\\]|\\.)*"|.*?)'
DONATED = r"(?:, donated to output(\d{1,9}))?"
HEADER = re.compile(rf"plan {NAME}: arena (\d{{1,18}}) bytes, scratch (\d{{1,18}}) bytes")
SYMBOL = re.compile(rf"  symbol {NAME} in (\d{{1,18}})\.\.(\d{{1,18}})")
VALUE = re.compile(rf"  (input|output|constant)(\d{{1,9}}) {NAME}: (\w+\[.*\])(?: on device(\d{{1,9}}))?{DONATED}")
DEVICE = re.compile(rf"  device(\d{{1,9}}) {NAME}: (\S+), arena (\d{{1,18}}) bytes")
STEP = re.compile(r"( +)(\d{1,9}) (.*?)(?:  # (.*))?")
BRANCH = re.compile(r"( +)branch (\d{1,9}):")
ON_DEVICE = r"(?: on device(\d{1,9}) threads (\d{1,9}) shared (\d{1,9}))?"
LAUNCH = re.compile(rf"(serial )?(\S+?)\(([^()]*)\)(?: sizes \[(.*?)\])?(?: tasks (.*?))?{ON_DEVICE}")
COPY = re.compile(r"(serial )?copy (\S+) <- (\S+), (.*) bytes")
START = re.compile(
    rf"start (\d{{1,9}}) ({'|'.join(COLLECTIVES)})(?: ({'|'.join(REDUCTIONS)})| from (\d{{1,9}}))?"
    rf" (\S+) <- (\S+), (.*) ({'|'.join(DTYPES)}) in ((?:\[[\d,]+\] ?)+)"
)
DONE = re.compile(r"done (\d{1,9})")
PLACE = re.compile(r"(?:(input|output|constant)(\d{1,9})|(arena)(\d{1,9})?)(?:\+(\d{1,18}))?")


def parse_plan(text: str) -> Plan:
    """The verified Plan that ``print_plan`` printed, its kernels in the order of their first launch.

    Any text is safe to give: what is no plan raises ParseError that names the line.

    Example:
        >>> plan = parse_plan("plan nothing: arena 64 bytes, scratch 0 bytes")
        >>> plan.name, plan.arena_bytes
        ('nothing', 64)
    """
    return _Parser(text).run()


class _Parser:
    def __init__(self, text: str) -> None:
        self.lines = text.rstrip("\n").split("\n")
        self.at = 0
        self.symbols: dict[str, Dim] = {}
        self.kernels: dict[str, int] = {}

    def run(self) -> Plan:
        name, arena, scratch = self.matched(HEADER, "plan NAME: arena N bytes, scratch N bytes").groups()
        symbols: list[Symbol] = []
        while match := self.accept(SYMBOL):
            symbols.append(self.symbol(*match.groups()))
        devices: list[PlanDevice] = []
        while match := self.accept(DEVICE):
            devices.append(self.device(len(devices) + 1, *match.groups()))
        inputs = [PlanInput(n, t, to, d) for n, t, d, to in self.values("input")]
        outputs = [PlanOutput(n, t, d) for n, t, d, _ in self.values("output")]
        constants = [PlanConstant(n, t, d) for n, t, d, _ in self.values("constant")]
        steps = self.steps()
        plan = Plan(_name(name), tuple(symbols), tuple(inputs), tuple(outputs), tuple(constants), int(arena),
                    int(scratch), tuple(self.kernels), steps, tuple(devices))  # fmt: skip
        try:
            verify_plan(plan)
        except VerifyError as error:
            raise ParseError(f"plan: {error.message}") from error
        return plan

    # ---------------------------------------------------------------- lines

    def accept(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """The next line, where it matches."""
        match = pattern.fullmatch(self.lines[self.at]) if self.at < len(self.lines) else None
        self.at += match is not None
        return match

    def matched(self, pattern: re.Pattern[str], what: str) -> re.Match[str]:
        match = self.accept(pattern)
        if match is None:
            self.at += 1
            raise self.error(f"expected `{what}`")
        return match

    def error(self, message: str) -> ParseError:
        """About the line that was read last."""
        line = self.lines[self.at - 1] if self.at <= len(self.lines) else ""
        return ParseError(message, location=f"line {self.at}: {line.strip()[:200]}")

    def read(self, text: str, what: Callable[[TypeReader], T]) -> T:
        """``what`` of a part of the line, all of it."""
        try:
            reader = TypeReader(Tokens(text), self.symbols)
            found = what(reader)
            if reader.tokens.next.kind != "end":
                raise reader.tokens.expected("no more")
        except MlcError as error:
            raise self.error(error.message) from error
        return found

    # ---------------------------------------------------------------- values

    def symbol(self, word: str, lower: str, upper: str) -> Symbol:
        name = _name(word)
        if name in self.symbols:
            raise self.error(f"the size {name} is declared twice")
        try:
            size = dim(name, int(lower), int(upper))
        except ValueError as error:
            raise self.error(str(error)) from None
        assert isinstance(size, Dim)
        self.symbols[name] = size
        return size.symbols[0]

    def device(self, expected: int, number: str, name: str, target: str, arena: str) -> PlanDevice:
        if int(number) != expected:
            raise self.error(f"expected device{expected}")
        return PlanDevice(_name(name), target, int(arena))

    def values(self, space: str) -> list[tuple[str, TensorType, int, int | None]]:
        """Name, type, device and the output that an input is donated to."""
        found: list[tuple[str, TensorType, int, int | None]] = []
        while (match := self.accept(VALUE)) and match[1] == space:
            if int(match[2]) != len(found):
                raise self.error(f"expected {space}{len(found)}")
            tensor = self.read(match[4], TypeReader.type)
            assert isinstance(tensor, TensorType)  # by the pattern
            donated_to = None if match[6] is None else int(match[6])
            found.append((_name(match[3]), tensor, int(match[5] or 0), donated_to))
        self.at -= match is not None
        return found

    # ---------------------------------------------------------------- steps

    def steps(self) -> tuple[Step, ...]:
        """All lines that are left. Iterative: ``open`` are the lists that may still grow, the outermost first."""
        top: list[Step] = []
        open_lists = [top]
        pending: list[tuple[list[Step], int, Loop | Branch, list[list[Step]]]] = []
        count = 0
        while self.at < len(self.lines):
            if match := self.accept(BRANCH):
                depth = len(match[1]) // 2 - 3
                if not 0 <= depth < len(open_lists) or not self.grow(pending, open_lists, depth, int(match[2])):
                    raise self.error("a branch is numbered by the step before it")
                continue
            indent, number, text, label = self.matched(STEP, "NUMBER STEP").groups()
            depth, odd = divmod(len(indent) + len(number) - max(3, len(number)) - 2, 2)
            if odd or not 0 <= depth < len(open_lists) or int(number) != count:
                raise self.error(f"expected step {count}, indented by the loops and branches around it")
            count += 1
            del open_lists[depth + 1 :]
            step = self.step(text, _name(label or ""))
            siblings = open_lists[depth]
            siblings.append(step)
            if isinstance(step, Loop | Branch):
                if len(open_lists) > MAX_NESTING:
                    raise self.error("loops and branches are nested too deep")
                parts: list[list[Step]] = [[]] if isinstance(step, Loop) else []
                pending.append((siblings, len(siblings) - 1, step, parts))
                open_lists += parts
        for siblings, i, step, parts in reversed(pending):  # inner ones first
            done = tuple(map(tuple, parts))
            siblings[i] = (
                Loop(step.predicate, done[0], step.label) if isinstance(step, Loop)
                else Branch(step.index, done, step.label)
            )  # fmt: skip
        return tuple(top)

    @staticmethod
    def grow(
        pending: list[tuple[list[Step], int, Loop | Branch, list[list[Step]]]],
        open_lists: list[list[Step]],
        depth: int,
        number: int,
    ) -> bool:
        """Open the next part of the branch at this depth; False where it is not the next part of one."""
        siblings = open_lists[depth]
        mine = [p for p in pending if p[0] is siblings and p[1] == len(siblings) - 1]
        if not mine or not isinstance(mine[0][2], Branch) or number != len(mine[0][3]):
            return False
        del open_lists[depth + 1 :]
        mine[0][3].append([])
        open_lists.append(mine[0][3][-1])
        return True

    def step(self, text: str, label: str) -> Step:
        if text.startswith("loop while ") and text.endswith(":"):
            return Loop(self.place(text[11:-1]), (), label)
        if text.startswith("branch by ") and text.endswith(":"):
            return Branch(self.place(text[10:-1]), (), label)
        barrier = text.startswith("barrier; ")
        text = text.removeprefix("barrier; ")
        if match := COPY.fullmatch(text):
            size = self.read(match[4], TypeReader.size)
            return Copy(self.place(match[2]), self.place(match[3]), size, barrier, label, match[1] is not None)
        if match := START.fullmatch(text):
            return self.collective(match, barrier, label)
        if match := DONE.fullmatch(text):
            return CollectiveDone(int(match[1]), barrier, label)
        if text == "progress" and not barrier:
            return Progress(label)
        match = LAUNCH.fullmatch(text)
        if match is None:
            raise self.error("expected a launch, a copy, a loop, a branch, a collective, done or progress")
        serial, kernel, operands, sizes, tasks, *device = match.groups()
        return Launch(
            self.kernels.setdefault(kernel, len(self.kernels)),
            tuple(self.place(w) for w in operands.split(", ")) if operands else (),
            self.read(sizes, _sizes) if sizes else (),
            tuple(self.task(w) for w in tasks.split(" x ")) if tasks else (),
            barrier, serial is not None, label, *(int(word or 0) for word in device),
        )  # fmt: skip

    def collective(self, match: re.Match[str], barrier: bool, label: str) -> CollectiveStart:
        slot, kind, reduction, root, destination, source, count, dtype, groups = match.groups()
        words = [g[1:-1].split(",") for g in groups.split()]
        if not all(w.isdecimal() and len(w) < 10 for group in words for w in group):
            raise self.error("expected groups of ranks as [0,1] [2,3]")
        return CollectiveStart(
            kind, int(slot), self.place(source), self.place(destination), self.read(count, TypeReader.size),
            DTYPES[dtype], tuple(tuple(map(int, group)) for group in words), reduction or "add", int(root or 0),
            barrier, label,
        )  # fmt: skip

    def task(self, text: str) -> tuple[Size, int]:
        extent, _, grain = text.rpartition("/")
        if not re.fullmatch(r"\d{1,18}", grain):
            raise self.error("expected tasks as EXTENT/GRAIN x ...")
        return self.read(extent, TypeReader.size), int(grain)

    def place(self, text: str) -> BufferRef:
        match = PLACE.fullmatch(text)
        if match is None:
            raise self.error(f"expected a place such as input0 or arena+64, found {text[:40]}")
        return BufferRef(match[1] or match[3], int(match[2] or match[4] or 0), int(match[5] or 0))


def _sizes(reader: TypeReader) -> tuple[Size, ...]:
    found = [reader.size()]
    while reader.tokens.accept(","):
        found.append(reader.size())
    return tuple(found)


def _name(text: str) -> str:
    """A name or label as ``quoted`` printed it."""
    try:
        return str(json.loads(text)) if text.startswith('"') else text
    except ValueError:
        return text
