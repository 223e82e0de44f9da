"""Sums of products as the kernels of GPUs see them: rows by columns by depth, whatever these are made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from mlc.ir.dims import Size, bounds
from mlc.ir.graph import CONSTANT, PARAMETER, Node
from mlc.ir.kernel import Index, KernelBuilder, Memory, Value
from mlc.ir.target import GpuTarget
from mlc.ir.types import BF16, F16, F32, I8, I32, DType
from mlc.passes.schedule.access import Access, walk_accesses
from mlc.passes.schedule.domain import Domain
from mlc.passes.schedule.region import KernelCall
from mlc.passes.schedule.sizes import Sizes
from mlc.passes.schedule.sums_frame import SumsFrame

from .threads import is_vector

Batch = tuple[Index, ...]


@dataclass(frozen=True, slots=True)
class Walk:
    """How threads read an operand: ``lanes`` neighbours at once, ``along_depth`` or along its rows (or columns)."""

    lanes: int
    along_depth: bool


@dataclass(frozen=True, slots=True)
class Reader:
    """One operand of a product: its number of rows (or columns), and how it is read."""

    name: str
    extent: Size
    walk: Walk


class Product(ABC):
    """sum[batch, row, column] = sum over k < depth of left[batch, row, k] * right[batch, column, k], then an epilogue.

    Operands are read inside of their bounds only, as ``factor`` or in the accumulator's type.
    """

    frame: SumsFrame
    factor: DType | None  # the type in which a matrix unit multiplies, if one does
    batch: Size
    depth: Size
    left: Reader
    right: Reader

    @property
    def most_lanes(self) -> int:
        """Elements that are read at once: no more than fill 16 bytes of shared memory."""
        return 4 if self.factor is None else 16 // self.factor.itemsize

    @property
    def builder(self) -> KernelBuilder:
        return self.frame.builder

    @abstractmethod
    def read(self, operand: Reader, batch: Batch, free: Index, k: Index, lanes: int) -> Value:
        """``lanes`` elements of an operand from (free, k) on, along its walk."""

    @abstractmethod
    def address(
        self, operand: Reader, batch: Batch, free: Index, k: Index
    ) -> tuple[Memory, tuple[Index, ...], Value | None]:
        """Where that element lies, of an operand in memory; and the condition on which it does, else it is a zero."""

    @abstractmethod
    def source(self, operand: Reader) -> Node:
        """What an operand is read from."""

    def is_direct(self, operand: Reader, dtype: DType) -> bool:
        """Whether an operand lies in memory as elements of ``dtype``, as many side by side as one copy takes."""
        node = self.source(operand)
        fits = operand.walk.lanes * dtype.itemsize in (4, 8, 16)
        return node in self.frame.memories and node.dtype == dtype and fits

    def walk_of(self, node: Node, axis: int | None, along_depth: bool, run: Size, target: GpuTarget) -> Walk:
        """How ``node`` is read along an axis, of which a multiple of ``run`` elements follow one another.

        Matrix units read lines along K: elements that lie otherwise, and are not of 2 bytes, are turned one by one.
        """
        if (self.factor not in (None, F16, BF16) and not along_depth) or not isinstance(run, int):
            return Walk(1, along_depth)
        lanes = even_lanes(node, axis, self.frame.sizes, target, self.most_lanes)
        while run % lanes:
            lanes //= 2
        return Walk(lanes, along_depth)

    @abstractmethod
    def store(self, batch: Batch, row: Index, column: Index, total: Value, mask: Value | None) -> None:
        """The epilogue where neighbouring columns have the sums ``total``, and the stores of the results."""

    @abstractmethod
    def batch_at(self, number: Index) -> Batch:
        """The batch of this number."""

    def contracted(self, batch: Batch) -> tuple[Index, Index]:
        """Where the products of a batch begin and end along K."""
        return Index.of(0), self.index(self.depth)

    @property
    def longest(self) -> int:
        """The most products of a sum."""
        return bounds(self.depth)[1]

    def is_whole(self, depth: int) -> bool:
        """Whether all sums are of a multiple of ``depth`` products."""
        return isinstance(self.depth, int) and self.depth % depth == 0

    def index(self, size: Size) -> Index:
        return self.frame.sizes.index(size)

    def call(self, tasks: tuple[tuple[Size, int], ...]) -> KernelCall:
        return self.frame.call(tasks)


def matrix_type(left: DType, right: DType, accumulator: DType, target: GpuTarget) -> DType | None:
    """The type in which matrix units multiply operands of these types: f16, bf16, i8, or f32 where tf32 will do."""
    kinds = {F16: F32, BF16: F32, I8: I32} | ({F32: F32} if target.tf32 else {})
    return left if left == right and kinds.get(left) == accumulator else None


def even_lanes(node: Node, axis: int | None, sizes: Sizes, target: GpuTarget, most: int = 4) -> int:
    """Elements of ``node`` along ``axis`` that are read at once: all lie side by side, at multiples of 16 bytes.

    1 where they do not, or where the axis is no multiple of them.
    """
    if axis is None or not isinstance(node.shape[axis], int):
        return 1
    domain = Domain.of(node.shape, sizes)
    variable = next((v for v, a in zip(domain.variables, domain.axis_of, strict=True) if a == axis), None)
    lanes = min(target.lanes(node.dtype), most)
    if variable is None:
        return 1
    for access in walk_accesses([Access(node, domain.coordinates)], domain):
        if any(variable in domain.dependencies(g.index) for g in access.guards):
            return 1
        if access.node.op is PARAMETER or access.node.op is CONSTANT:
            place = domain.linear(access.node.shape, access.coordinates)
            moves = variable in domain.dependencies(place)
            while lanes > 1 and moves and not is_vector(domain, place, variable, lanes):
                lanes //= 2
    while bounds(node.shape[axis])[1] % lanes:
        lanes //= 2
    return lanes
