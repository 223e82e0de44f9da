"""Builds kernels: buffers and scratch, the one parallel loop, and everything that a Writer writes in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from mlc.errors import VerifyError
from mlc.ir.types import DType

from ..bits import bits_of
from .data import Kernel, Memory, Statement
from .index import Index, IndexLike, IndexVariable
from .writer import Number, Writer, need


@dataclass
class _Parallel:
    indices: tuple[IndexVariable, ...]
    extents: tuple[Index, ...]
    grains: tuple[int, ...]
    threads: int
    body: tuple[Statement, ...] = field(default=())


class KernelBuilder(Writer):
    """Builds one Kernel; ``sizes`` is the number of run-time sizes, available as ``builder.sizes``.

    Every mistake (types, bounds of lanes, a missing yield) raises VerifyError naming the constraint.

    Example:
        >>> from mlc.ir.types import F32
        >>> b = KernelBuilder("double", sizes=1)
        >>> x = b.buffer("x", F32, (b.sizes[0],), access="readwrite")
        >>> with b.parallel((b.sizes[0], 16)) as (i,):
        ...     mask = b.tail_mask(i * 16, b.sizes[0], 16)
        ...     v = b.load(x, (i * 16,), lanes=16, mask=mask)
        ...     b.store(x, (i * 16,), b.op("add", v, v), mask=mask)
        >>> print(b.build(), end="")
        kernel @double sizes 1 {
          buffer %x f32[%n0] strides [1] readwrite
          parallel (%i0 = %n0 by 16) {
            %0 = tail_mask (%i0*16, %n0) : boolx16
            %1 = load %x[%i0*16] %0 : f32x16
            %2 = add %1, %1 : f32x16
            store %x[%i0*16] %2, %0
          }
        }
    """

    def __init__(self, name: str, sizes: int = 0) -> None:
        super().__init__()
        self.name = name
        self.sizes = tuple(Index.of(IndexVariable("n", k)) for k in range(sizes))
        self._buffers: list[Memory] = []
        self._scratches: list[Memory] = []
        self._shared: list[Memory] = []
        self._tables: list[Memory] = []
        self._parallel: _Parallel | None = None

    # Memory

    def buffer(
        self,
        name: str,
        dtype: DType,
        shape: Sequence[IndexLike],
        strides: Sequence[IndexLike] | None = None,
        access: str = "read",
        noalias: bool = False,
        space: str = "global",
        box: Sequence[int] = (),
        swizzle: int = 0,
    ) -> Memory:
        """The next buffer parameter; strides count elements and are row-major unless given.

        Its space is global, const or tensor_map; copies from a tensor map take a ``box``, with a swizzle.
        """
        need(access in ("read", "write", "readwrite"), f"buffer {name}: access {access!r}")
        sizes = tuple(map(Index.of, shape))
        steps = _row_major(sizes) if strides is None else tuple(map(Index.of, strides))
        need(len(steps) == len(sizes), f"buffer {name}: {len(steps)} strides for rank {len(sizes)}")
        known = {v for n in self.sizes for v in n.variables}
        for n in sizes + steps:
            need(n.variables <= known, f"buffer {name}: {n} depends on more than the sizes")
        memory = Memory(self._memory_id(), name, dtype, sizes, steps, access, noalias, space, swizzle, tuple(box))
        self._buffers.append(memory)
        return memory

    def scratch(self, name: str, dtype: DType, shape: Sequence[int]) -> Memory:
        """Memory of the running thread, 64-byte aligned, undefined at the start of each parallel iteration."""
        sizes = tuple(map(Index.of, shape))
        memory = Memory(self._memory_id(), name, dtype, sizes, _row_major(sizes), "scratch", True)
        self._scratches.append(memory)
        return memory

    def shared(self, name: str, dtype: DType, shape: Sequence[int], swizzle: int = 0) -> Memory:
        """Memory of the threads of a block; rows of ``swizzle`` bytes (32, 64, 128) are permuted, 0 for none."""
        sizes = tuple(map(Index.of, shape))
        memory = Memory(self._memory_id(), name, dtype, sizes, _row_major(sizes), "shared", True, swizzle=swizzle)
        self._shared.append(memory)
        return memory

    def table(self, name: str, dtype: DType, shape: Sequence[int], numbers: Sequence[Number]) -> Memory:
        """Constant memory with these numbers in row-major order: offsets, masks, coefficients."""
        sizes, bits = tuple(map(Index.of, shape)), tuple(bits_of(x, dtype) for x in numbers)
        memory = Memory(self._memory_id(), name, dtype, sizes, _row_major(sizes), "table", True, data=bits)
        self._tables.append(memory)
        return memory

    @contextmanager
    def parallel(self, *nest: tuple[IndexLike, int], threads: int = 0) -> Iterator[tuple[Index, ...]]:
        """The one outermost loop: index ``d`` runs over ``0 .. ceil(extent / grain) - 1`` of its (extent, grain).

        The last ``threads`` of the indices count the threads of a block.
        """
        need(self._parallel is None, "parallel: a kernel has exactly one")
        for extent, grain in nest:
            need(grain >= 1, f"parallel: grain {grain} of extent {extent}")
        indices = tuple(IndexVariable("i", self.fresh_id()) for _ in nest)
        self._parallel = _Parallel(indices, tuple(Index.of(e) for e, _ in nest), tuple(g for _, g in nest), threads)
        self._blocks.append([])
        yield tuple(map(Index.of, indices))
        self._parallel.body = tuple(self._blocks.pop())

    def build(self) -> Kernel:
        """The finished kernel; raises VerifyError where it breaks a constraint of the language."""
        from .verify import verify_kernel

        if self._parallel is None or self._blocks:
            raise VerifyError(f"kernel {self.name}: needs exactly one parallel loop, closed")
        p = self._parallel
        nest = p.indices, p.extents, p.grains, p.body
        buffers, scratches = tuple(self._buffers), tuple(self._scratches)
        kernel = Kernel(
            self.name, len(self.sizes), buffers, scratches, *nest, tuple(self._shared), tuple(self._tables), p.threads
        )
        verify_kernel(kernel)
        return kernel

    def _memory_id(self) -> int:
        return len(self._buffers) + len(self._scratches) + len(self._shared) + len(self._tables)


def _row_major(shape: tuple[Index, ...]) -> tuple[Index, ...]:
    strides, step = [], Index.of(1)
    for n in reversed(shape):
        strides.append(step)
        step = step * n
    return tuple(reversed(strides))
