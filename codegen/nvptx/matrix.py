"""Matrix units of warps as LLVM IR: ldmatrix, mma.sync, and accumulators written back.

A fragment is a vector of the elements that a thread holds, in the order of the hardware's registers.
"""

from __future__ import annotations

from mlc.codegen import values
from mlc.codegen.nvptx.addresses import DeviceAddresses
from mlc.codegen.nvptx.memory import DeviceAccesses
from mlc.ir.kernel import Index, IndexVariable, Instruction, Kernel, Memory, VectorType, largest_id
from mlc.ir.types import BF16, F16, F32, I8, U32

_PRODUCTS = {  # the suffix of llvm.nvvm.mma, and the type of a register of an operand
    F16: ("m16n8k16.row.col.f32.f32", "<2 x half>"),
    BF16: ("m16n8k16.row.col.bf16", "i32"),
    F32: ("m16n8k8.row.col.tf32", "i32"),
    I8: ("m16n8k32.row.col.s8", "i32"),
}


class Matrices:
    """Emits the operations of matrix units of one kernel."""

    def __init__(self, kernel: Kernel, accesses: DeviceAccesses) -> None:
        self.out = accesses.out
        self.addresses: DeviceAddresses = accesses.addresses
        self.accesses = accesses
        first = largest_id(kernel) + 1
        self.pair = IndexVariable("q", first)  # twice the thread's number of its group of 4: a column
        self.rows: dict[int, IndexVariable] = {}
        self.loads: dict[tuple[str, bool], tuple[IndexVariable, IndexVariable]] = {}
        self.next = first + 1
        accesses.divisors.known[self.pair] = 2
        self.registers: dict[int, list[str]] = {}  # of a fragment: its 32-bit registers

    # Fragments from shared memory

    def load(self, n: Instruction) -> None:
        """Each thread gives the address of one row of 16 bytes; rows of 8 threads are a tile."""
        m, t, fragment = _memory(n), n.value.type, n.value.type.fragment
        assert fragment is not None
        tiles = fragment.rows * fragment.columns * t.dtype.bits // 1024
        row, chunk = self.places(fragment.role, n.attribute == "transposed")
        along = Index.of(chunk) * (16 // m.dtype.itemsize)
        place = self.addresses.element(m, (*n.indices[:-2], n.indices[-2] + Index.of(row), n.indices[-1] + along))
        kind = "i32" if tiles == 1 else f"{{ {', '.join(['i32'] * tiles)} }}"
        trans = ".trans" if n.attribute == "transposed" else ""
        name = f"llvm.nvvm.ldmatrix.sync.aligned.m8n8.x{tiles}{trans}.b16.p3"
        loaded = self.out.call(kind, name, [(self.addresses.pointer_type(m), place)])
        self.define(n, [loaded] if tiles == 1 else [self.part(kind, loaded, k) for k in range(tiles)])

    def places(self, role: str, transposed: bool) -> tuple[IndexVariable, IndexVariable]:
        """Row and 16-byte chunk of this thread's row of a fragment.

        Tiles of an a go down, then along K; those of a b along K, which is the memory's last axis unless transposed.
        """
        key = role, transposed
        if key not in self.loads:
            lane = self.lane()
            inside, low, high = (self.first(f"and i32 {lane}, 7"), *(self.bit(lane, k) for k in (3, 4)))
            down = {("a", False): low, ("a", True): high, ("b", True): low}.get(key)
            along = {("a", False): high, ("a", True): low, ("b", False): low}.get(key)
            row = self.first(f"add i32 {inside}, {self.first(f'shl i32 {down}, 3')}") if down else inside
            self.loads[key] = self.variable(row), self.variable(along or "0")
        return self.loads[key]

    def define(self, n: Instruction, registers: list[str]) -> None:
        """The value of a fragment is the vector of its elements."""
        words = VectorType(U32, len(registers))
        whole = "poison" if len(registers) > 1 else ""
        for k, r in enumerate(registers):
            whole = values.insert(self.out, whole, words, r, k)
        self.registers[n.value.id] = registers
        self.accesses.operands[n.value.id] = values.bitcast(self.out, whole, words, n.value.type)

    # Products

    def multiply(self, n: Instruction) -> None:
        a, b, c = n.operands
        suffix, kind = _PRODUCTS[a.dtype]
        operands = [(kind, r) for v in (a, b) for r in self.words(v.id, v.type, kind)]
        element = "float" if c.dtype == F32 else "i32"
        total = self.accesses.operands[c.id]
        operands += [(element, values.extract(self.out, total, c.type, k)) for k in range(4)]
        result = f"{{ {', '.join([element] * 4)} }}"
        product = self.out.call(result, f"llvm.nvvm.mma.{suffix}", operands)
        whole = "poison"
        for k in range(4):
            whole = values.insert(self.out, whole, n.value.type, self.part(result, product, k), k)
        self.accesses.operands[n.value.id] = whole

    def words(self, value: int, t: VectorType, kind: str) -> list[str]:
        """The registers of an operand, each of type ``kind``."""
        count = t.lanes * t.dtype.bits // 32
        if value not in self.registers:
            words = VectorType(U32, count)
            whole = values.bitcast(self.out, self.accesses.operands[value], t, words)
            return [self.cast(values.extract(self.out, whole, words, k), kind) for k in range(count)]
        return [self.cast(r, kind) for r in self.registers[value]]

    def cast(self, register: str, kind: str) -> str:
        return register if kind == "i32" else self.out.let(f"bitcast i32 {register} to {kind}")

    # Accumulators to memory

    def store(self, n: Instruction) -> None:
        """Two neighbours of a row, then two of the row 8 below, then 8 columns on; what is outside is left."""
        m, value = _memory(n), n.operands[0]
        fragment = value.type.fragment
        assert fragment is not None
        rows = self.accumulator_rows(fragment.threads)
        operand = self.accesses.operands[value.id]
        for k in range(0, value.lanes, 2):
            below, along = k // 2 % 2 * 8, k // 4 * 8
            at = (*n.indices[:-2], n.indices[-2] + rows + below, n.indices[-1] + Index.of(self.pair) + along)
            self.store_pair(m, at, value.type, [values.extract(self.out, operand, value.type, k + i) for i in range(2)])

    def store_pair(self, m: Memory, at: tuple[Index, ...], t: VectorType, parts: list[str]) -> None:
        """Together where both are inside and their address is a multiple of their bytes."""
        accesses, one, two = self.accesses, VectorType(t.dtype), VectorType(t.dtype, 2)
        following = (*at[:-1], at[-1] + 1)
        places = [self.addresses.element(m, a) for a in (at, following)]
        inside = [self.inside(m, a) for a in (at, following)]
        aligned = accesses.divisors.of_address(m, at) % (2 * t.dtype.itemsize) == 0
        if not aligned or m.strides[-1].constant != 1:
            for k in range(2):
                accesses.store_if(inside[k], m, places[k], one, parts[k])
            return
        both = values.insert(self.out, values.insert(self.out, "poison", two, parts[0], 0), two, parts[1], 1)
        accesses.choose(
            inside[1],
            lambda: accesses.store(m, places[0], two, both, 2 * t.dtype.itemsize),
            lambda: accesses.store_if(inside[0], m, places[0], one, parts[0]),
        )

    def inside(self, m: Memory, at: tuple[Index, ...]) -> str:
        total = ""
        for index, size in zip(at, m.shape, strict=True):
            if index.constant is not None and size.constant is not None and 0 <= index.constant < size.constant:
                continue
            kind = "i32" if self.addresses.are_narrow(index, size) else "i64"
            text = f"icmp ult {kind} {self.addresses.index(index, kind)}, {self.addresses.index(size, kind)}"
            part = self.addresses.once(self.out.depth, text, text)
            total = self.out.let(f"and i1 {total}, {part}") if total else part
        return total or "true"

    def accumulator_rows(self, threads: int) -> Index:
        """The row of this thread's first element: warps of a product by four have 16 rows each."""
        if threads not in self.rows:
            lane = self.lane()
            row = self.first(f"lshr i32 {lane}, 2")
            if threads > 32:
                warp = self.first(f"and i32 {self.first(f'lshr i32 {self.thread()}, 1')}, {(threads - 32) // 2}")
                row = self.first(f"add i32 {row}, {warp}")
            self.rows[threads] = self.variable(row)
            if self.pair not in self.addresses.variables:
                self.at_entry(self.pair, self.first(f"shl i32 {self.first(f'and i32 {lane}, 3')}, 1"))
        return Index.of(self.rows[threads])

    # What each thread computes once

    def thread(self) -> str:
        name = "llvm.nvvm.read.ptx.sreg.tid.x"
        self.out.declarations[name] = f"declare i32 @{name}()"
        return self.first(f"call i32 @{name}()")

    def lane(self) -> str:
        return self.first(f"and i32 {self.thread()}, 31")

    def bit(self, operand: str, k: int) -> str:
        return self.first(f"and i32 {self.first(f'lshr i32 {operand}, {k}')}, 1")

    def first(self, text: str) -> str:
        """Computed before all loops and roles."""
        cache = self.out.scopes[0].cache
        if text not in cache:
            cache[text] = self.out.let(text, 0)
        return cache[text]

    def variable(self, operand: str) -> IndexVariable:
        """An index variable that is an i32 of the start of the kernel."""
        variable, self.next = IndexVariable("q", self.next), self.next + 1
        self.at_entry(variable, operand)
        return variable

    def at_entry(self, variable: IndexVariable, operand: str) -> None:
        self.addresses.narrow[variable], self.addresses.depths[variable] = operand, 0
        self.addresses.ranges.known[variable] = 0, 1023

    def part(self, kind: str, whole: str, k: int) -> str:
        return self.out.let(f"extractvalue {kind} {whole}, {k}")


def _memory(n: Instruction) -> Memory:
    assert n.memory is not None
    return n.memory
