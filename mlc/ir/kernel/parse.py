"""Text to Kernel: reads what the printer writes, and says which line is wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mlc.errors import ParseError, VerifyError
from mlc.ir.types import DTYPES, DType

from ..bits import parse_bits
from .data import TOKEN, Attribute, Instruction, Kernel, Loop, Memory, Role, Statement, Value, VectorType, While
from .index import Index, IndexVariable
from .machine import MACHINE_OPS, ROLES
from .ops import ACCESSES, INDEX_OPS, OPS
from .verify import KernelError, verify_kernel

_TOKEN = re.compile(
    r"%\w+|@[^\s{]+|0x[0-9a-f]+|\d+(?:\.\d+)?(?:e[+-]?\d+)?|[A-Za-z_]\w*(?:\.\w+)?|[-+*()\[\]{}:,=]", re.ASCII
)

_TYPE = re.compile(rf"({'|'.join(DTYPES)})(?:x([1-9]\d{{0,5}}))?")


def parse_kernel(text: str) -> Kernel:
    """The kernel that ``text`` describes; ``print_kernel`` of it gives the same text.

    Raises ParseError, located at the line of the text, for what does not parse or verify.
    """
    parser = _Parser(text)
    kernel = parser.checked_kernel()
    if not parser.at_end():
        raise parser.error(f"unexpected {parser.peek()!r} after the kernel", ahead=1)
    return kernel


def parse_kernels(text: str) -> tuple[Kernel, ...]:
    """The kernels of a text that holds several, as ``as_text("kernels")``, ``MLC_DUMP`` and ``mlc inspect`` print them.

    Raises ParseError, located at the line of the text, for what does not parse or verify.
    """
    parser = _Parser(text)
    kernels = []
    while not parser.at_end():
        kernels.append(parser.checked_kernel())
    return tuple(kernels)


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    line: int


class _Parser:
    def __init__(self, text: str) -> None:
        self.source = text.splitlines()
        self.position = 0
        self.ids = 0
        self.values: dict[str, Value] = {}
        self.variables: dict[str, IndexVariable] = {}
        self.memories: dict[str, Memory] = {}
        self.lines: dict[int, int] = {}
        self.tokens = [t for number, line in enumerate(self.source) for t in self.tokenize(line, number)]

    def tokenize(self, line: str, number: int) -> list[_Token]:
        tokens, position = [], 0
        while position < len(line):
            if line[position].isspace():
                position += 1
                continue
            match = _TOKEN.match(line, position)
            if match is None:
                raise ParseError(f"unexpected {line[position]!r}", location=self.locate(number))
            tokens.append(_Token(match.group(), number))
            position = match.end()
        return tokens

    def at_end(self) -> bool:
        return self.position == len(self.tokens)

    # Structure

    def checked_kernel(self) -> Kernel:
        """The next kernel, verified; its names are its own."""
        for names in (self.values, self.variables, self.memories):
            names.clear()
        self.ids = 0
        kernel = self.kernel()
        try:
            verify_kernel(kernel)
        except KernelError as error:
            line = self.lines.get(id(error.where)) if error.where is not None else None
            raise ParseError(error.message, location=None if line is None else self.locate(line)) from None
        return kernel

    def kernel(self) -> Kernel:
        self.expect("kernel")
        name = self.next("@")[1:]
        self.expect("sizes")
        sizes = self.integer()
        self.variables.update({f"%n{k}": IndexVariable("n", k) for k in range(sizes)})
        self.expect("{")
        buffers = []
        while self.accept("buffer"):
            buffers.append(self.buffer())
        own: dict[str, list[Memory]] = {"scratch": [], "shared": [], "table": []}
        for access, found in own.items():
            while self.accept(access):
                found.append(self.own_memory(access))
        self.expect("parallel")
        self.expect("(")
        nest: list[tuple[str, Index, int]] = []
        threads = 0
        while not self.accept(")"):
            if nest:
                self.expect(",")
            index = self.next("%")
            self.expect("=")
            extent = self.index()
            self.expect("by")
            nest.append((index, extent, self.integer()))
            block = self.accept("block")
            if threads and not block:
                raise self.error("the axes of a block come last")
            threads += block
        indices = tuple(self.define_variable(i) for i, _, _ in nest)
        self.expect("{")
        body, _ = self.block()
        self.expect("}")
        extents, grains = tuple(e for _, e, _ in nest), tuple(g for _, _, g in nest)
        scratches, shared, tables = map(tuple, own.values())
        return Kernel(name, sizes, tuple(buffers), scratches, indices, extents, grains, body, shared, tables, threads)

    def buffer(self) -> Memory:
        name, dtype, shape = self.memory_head()
        self.expect("strides")
        strides = self.bracketed()
        access = self.next()
        if access not in ("read", "write", "readwrite"):
            raise self.error(f"{access!r} is no access")
        noalias = self.accept("noalias")
        space = next((s for s in ("const", "tensor_map") if self.accept(s)), "global")
        box = tuple(int(i.constant or 0) for i in self.bracketed()) if self.accept("box") else ()
        layout = shape, strides, access, noalias, space, self.swizzle(), box
        return self.define_memory(Memory(len(self.memories), name[1:], dtype, *layout))

    def swizzle(self) -> int:
        return self.integer() if self.accept("swizzle") else 0

    def own_memory(self, access: str) -> Memory:
        name, dtype, shape = self.memory_head()
        strides, step = [], 1
        for n in reversed(shape):
            strides.append(Index.of(step))
            step *= n.constant or 0
        strides.reverse()
        swizzle = self.swizzle()
        data = tuple(self.constant(r, dtype) for r in self.raw_list() if r) if access == "table" else ()
        layout = shape, tuple(strides), access, True, "global", swizzle, (), data
        return self.define_memory(Memory(len(self.memories), name[1:], dtype, *layout))

    def memory_head(self) -> tuple[str, DType, tuple[Index, ...]]:
        name, dtype = self.next("%"), self.next()
        if dtype not in DTYPES:
            raise self.error(f"{dtype!r} is no element type")
        return name, DTYPES[dtype], self.bracketed()

    def define_memory(self, memory: Memory) -> Memory:
        name = f"%{memory.name}"
        if name in self.memories:
            raise self.error(f"{name} is declared twice")
        self.memories[name] = memory
        return memory

    def block(self) -> tuple[tuple[Statement, ...], tuple[Value, ...]]:
        """Statements up to the closing brace, and what the block yields."""
        body: list[Statement] = []
        while not self.accept("}"):
            if self.accept("yield"):
                yields = [self.value()]
                while self.accept(","):
                    yields.append(self.value())
                self.expect("}")
                return tuple(body), tuple(yields)
            body.append(self.statement())
        return tuple(body), ()

    def statement(self) -> Statement:
        line = self.tokens[self.position].line if self.position < len(self.tokens) else 0
        results: list[str] = []
        if self.peek().startswith("%"):
            results.append(self.next("%"))
            while self.accept(","):
                results.append(self.next("%"))
            self.expect("=")
        statement: Statement
        if self.accept("loop"):
            statement = self.loop(results)
        elif self.accept("while"):
            statement = self.while_(results)
        elif self.peek().startswith("role."):
            statement = self.role()
        else:
            statement = self.instruction(results)
        self.lines[id(statement)] = line
        return statement

    def loop(self, names: list[str]) -> Loop:
        name = self.next("%")
        self.expect("=")
        lower = self.index()
        self.expect("to")
        upper = self.index()
        self.expect("step")
        step, unroll = self.integer(), 1
        if self.accept("unroll"):
            unroll = 0 if self.accept("full") else self.integer()
        index = self.define_variable(name)
        initial, arguments = self.carried()
        self.expect("{")
        body, yields = self.block()
        results = self.results(names, arguments)
        return Loop(index, lower, upper, step, initial, arguments, body, yields, results, unroll)

    def while_(self, names: list[str]) -> While:
        initial, arguments = self.carried()
        self.expect("{")
        test: list[Statement] = []
        while not self.accept("condition"):
            test.append(self.statement())
        condition = self.value()
        for word in ("}", "do", "{"):
            self.expect(word)
        body, yields = self.block()
        return While(initial, arguments, tuple(test), condition, body, yields, self.results(names, arguments))

    def role(self) -> Role:
        name = self.next().partition(".")[2]
        axis = self.next("%")
        if axis not in self.variables:
            raise self.error(f"no index is called {axis}")
        self.expect("in")
        first = self.integer()
        self.expect("to")
        last = self.integer()
        registers = self.integer() if self.accept("registers") else 0
        self.expect("{")
        body, _ = self.block()
        return Role(name, self.variables[axis], first, last, body, registers)

    def carried(self) -> tuple[tuple[Value, ...], tuple[Value, ...]]:
        """What a loop carries: initial values and arguments."""
        arguments: list[Value] = []
        initial: list[Value] = []
        if self.accept("carry"):
            self.expect("(")
            while not self.accept(")"):
                if arguments:
                    self.expect(",")
                argument = self.next("%")
                self.expect("=")
                initial.append(self.value())
                self.expect(":")
                arguments.append(self.define(argument, self.type()))
        return tuple(initial), tuple(arguments)

    def results(self, names: list[str], arguments: tuple[Value, ...]) -> tuple[Value, ...]:
        if len(names) != len(arguments):
            raise self.error(f"the loop carries {len(arguments)} values and has {len(names)} results")
        return tuple(self.define(n, a.type) for n, a in zip(names, arguments, strict=True))

    def instruction(self, names: list[str]) -> Instruction:
        head = self.next()
        op, _, word = head.partition(".")
        if op not in OPS:
            raise self.error(f"{op!r} is no operation")
        if len(names) > 1:
            raise self.error(f"{op} has one result")
        if op in ACCESSES:
            memory = self.memory()
            indices, operands = self.bracketed(), self.operands()
            result = self.define(names[0], self.ascribed()) if names else None
            return Instruction(op, result, operands, indices, word or None, memory)
        if op in MACHINE_OPS:
            return self.machine(op, word, names)
        raw = self.raw_list() if self.peek() == "[" else None
        indices = self.parenthesized() if self.peek() == "(" else ()
        operands = self.operands()
        if not names:
            raise self.error(f"{op} needs a name for its result")
        if op in INDEX_OPS or op == "index_of":
            return Instruction(op, self.define_variable(names[0]), operands, indices)
        t = self.ascribed()
        attribute: Attribute = word or None
        if raw is not None:
            numbers = [self.constant(r, t.dtype) if op == "constant" else self.lane(r) for r in raw]
            single = op in ("extract", "insert") or (op == "constant" and len(numbers) == 1)
            attribute = numbers[0] if single and len(numbers) == 1 else tuple(numbers)
        return Instruction(op, self.define(names[0], t), operands, indices, attribute)

    def machine(self, op: str, word: str, names: list[str]) -> Instruction:
        attribute: Attribute = word or None
        if self.peek() == "[":
            numbers = [self.lane(r) for r in self.raw_list()]
            attribute = numbers[0] if len(numbers) == 1 else tuple(numbers)
        memory, source = None, None
        indices: tuple[Index, ...] = ()
        origin: tuple[Index, ...] = ()
        if MACHINE_OPS[op].memory:
            memory, indices = self.memory(), self.bracketed()
        elif self.peek() == "(":
            indices = self.parenthesized()
        if self.accept("from") or self.accept("with"):
            source, origin = self.memory(), self.bracketed()
        operands = self.operands()
        result = self.define(names[0], self.ascribed()) if names else None
        return Instruction(op, result, operands, indices, attribute, memory, source, origin)

    def memory(self) -> Memory:
        name = self.next("%")
        if name not in self.memories:
            raise self.error(f"no memory is called {name}")
        return self.memories[name]

    def operands(self) -> tuple[Value, ...]:
        """Values up to the end of the line or the colon."""
        found: list[Value] = []
        line = self.tokens[self.position - 1].line
        while self.position < len(self.tokens) and self.tokens[self.position].line == line and self.peek() != ":":
            if found:
                self.expect(",")
            found.append(self.value())
        return tuple(found)

    # Leaves

    def raw_list(self) -> list[str]:
        self.expect("[")
        items, current = [], ""
        while not self.accept("]"):
            if self.accept(","):
                items.append(current)
                current = ""
            else:
                current += self.next()
        return [*items, current]

    def constant(self, text: str, dtype: DType) -> int:
        try:
            return parse_bits(text, dtype)
        except (ValueError, VerifyError) as error:
            raise self.error(f"{text!r} is no constant of {dtype}: {error}") from None

    def lane(self, text: str) -> int:
        if not text.isdecimal():
            raise self.error(f"{text!r} is no lane")
        return int(text)

    def ascribed(self) -> VectorType:
        self.expect(":")
        return self.type()

    def type(self) -> VectorType:
        if self.accept("fragment"):
            return self.fragment()
        if self.accept(TOKEN.name):
            return VectorType(TOKEN)
        text = self.next()
        match = _TYPE.fullmatch(text)
        if match is None:
            raise self.error(f"{text!r} is no type")
        return VectorType(DTYPES[match.group(1)], int(match.group(2) or 1))

    def fragment(self) -> VectorType:
        self.expect("(")
        rows = self.integer()
        self.expect("x")
        columns = self.integer()
        self.expect(",")
        dtype = self.next()
        if dtype not in DTYPES:
            raise self.error(f"{dtype!r} is no element type")
        self.expect(",")
        role, threads = self.next(), 32
        if self.accept(","):
            threads = self.integer()
        self.expect(")")
        if role not in ROLES or threads not in (32, 128) or rows * columns % threads:
            raise self.error(f"{rows} x {columns} of role {role} over {threads} threads is no fragment")
        return VectorType.of_fragment(rows, columns, DTYPES[dtype], role, threads)

    def bracketed(self) -> tuple[Index, ...]:
        return self.index_list("[", "]")

    def parenthesized(self) -> tuple[Index, ...]:
        return self.index_list("(", ")")

    def index_list(self, opening: str, closing: str) -> tuple[Index, ...]:
        self.expect(opening)
        indices: list[Index] = []
        while not self.accept(closing):
            if indices:
                self.expect(",")
            indices.append(self.index())
        return tuple(indices)

    def index(self) -> Index:
        negative = self.accept("-")
        total = self.product() * (-1 if negative else 1)
        while self.peek() in ("+", "-"):
            sign = 1 if self.next() == "+" else -1
            total = total + self.product() * sign
        return total

    def product(self) -> Index:
        total = self.factor()
        while self.accept("*"):
            total = total * self.factor()
        return total

    def factor(self) -> Index:
        if not self.peek().startswith("%"):
            return Index.of(self.integer())
        name = self.next()
        if name not in self.variables:
            raise self.error(f"no index is called {name}")
        return Index.of(self.variables[name])

    def value(self) -> Value:
        name = self.next("%")
        if name not in self.values:
            raise self.error(f"no value is called {name}")
        return self.values[name]

    def integer(self) -> int:
        text = self.next()
        if not text.isdecimal():
            raise self.error(f"{text!r} is no integer")
        return int(text)

    def define(self, name: str, t: VectorType) -> Value:
        if name in self.values or not name[1:].isdecimal():
            raise self.error(f"{name} is defined twice" if name in self.values else f"{name} is no name of a value")
        self.values[name] = Value(self.fresh_id(), t)
        return self.values[name]

    def define_variable(self, name: str) -> IndexVariable:
        if name in self.variables or not re.fullmatch(r"%[iq]\d+", name):
            raise self.error(f"{name} is defined twice" if name in self.variables else f"{name} is no name of an index")
        self.variables[name] = IndexVariable(name[1], self.fresh_id())
        return self.variables[name]

    def fresh_id(self) -> int:
        self.ids += 1
        return self.ids - 1

    # Tokens

    def peek(self) -> str:
        return self.tokens[self.position].text if self.position < len(self.tokens) else ""

    def next(self, start: str = "") -> str:
        text = self.peek()
        if not text or not text.startswith(start):
            raise self.error(
                f"expected {start or 'more'}, found {text!r}" if text else "the text ends too early", ahead=1
            )
        self.position += 1
        return text

    def accept(self, text: str) -> bool:
        found = self.peek() == text
        self.position += found
        return found

    def expect(self, text: str) -> None:
        if not self.accept(text):
            raise self.error(f"expected {text!r}, found {self.peek()!r}", ahead=1)

    def error(self, message: str, ahead: int = 0) -> ParseError:
        """About the token read last, or the one ahead of it."""
        last = len(self.tokens) - 1
        line = self.tokens[max(min(self.position - 1 + ahead, last), 0)].line if self.tokens else 0
        return ParseError(message, location=self.locate(line))

    def locate(self, line: int) -> str:
        return f"line {line + 1}: {self.source[line].strip() if line < len(self.source) else ''}"
