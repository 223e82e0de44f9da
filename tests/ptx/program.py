"""PTX modules that can be launched: ``Program(text).launch("add", grid=..., block=..., arguments=..., memory=...)``."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np

from .errors import PtxError
from .machine import Machine
from .memory import Memory
from .syntax import Kernel
from .text import parse
from .threads import Extent

LARGEST_GRID = (2**31 - 1, 65535, 65535)


class Program:
    """A PTX module; its global variables are put in a memory by the first launch there, or by ``load``."""

    def __init__(self, text: str) -> None:
        self.module = parse(text)
        self.loaded: WeakKeyDictionary[Memory, dict[str, int]] = WeakKeyDictionary()

    def load(self, memory: Memory) -> dict[str, int]:
        """The addresses of the module's global and constant variables in ``memory``, put there once."""
        if memory not in self.loaded:
            found = self.loaded[memory] = {}
            for variable in self.module.variables:
                if variable.space in ("global", "const"):
                    address = found[variable.name] = memory.allocate(variable.size)
                    memory.write(address, np.frombuffer(variable.initial or bytes(variable.size), np.uint8))
                    memory.find(address, variable.size)[0].is_constant = variable.space == "const"
        return self.loaded[memory]

    def launch(
        self,
        name: str,
        *,
        grid: Extent,
        block: Extent,
        arguments: Sequence[int | float | bytes],
        memory: Memory,
        shared_bytes: int = 0,
    ) -> None:
        """Run a kernel over the grid; ``shared_bytes`` are for its extern arrays.

        Arguments are integers (addresses too), floats for float parameters, or the bytes of any parameter. Raises
        PtxError; memory is then as far as the kernel had come.
        """
        if name not in self.module.kernels:
            raise PtxError("launch", f"the module has no kernel {name!r}")
        kernel = self.module.kernels[name]
        _check(kernel, grid, block)
        machine = Machine(kernel, grid, block, memory, self.module.variables, self.load(memory), shared_bytes)
        machine.spaces.pass_arguments(kernel, arguments)
        machine.run()


def _check(kernel: Kernel, grid: Extent, block: Extent) -> None:
    threads = block[0] * block[1] * block[2]
    if min(*grid, *block) < 1 or threads > 1024 or block[2] > 64 or any(
        g > most for g, most in zip(grid, LARGEST_GRID, strict=True)
    ):  # fmt: skip
        raise PtxError("launch", f"{kernel.name}: no grid of {grid} blocks of {block} threads")
    required, most = (_extent(kernel.limits.get(k)) for k in ("reqntid", "maxntid"))
    if required and required != tuple(block):
        raise PtxError("launch", f"{kernel.name}: blocks of {block} where .reqntid says {required}")
    if most and threads > most[0] * most[1] * most[2]:
        raise PtxError("launch", f"{kernel.name}: blocks of {block} where .maxntid says {most}")


def _extent(limit: tuple[int, ...] | None) -> tuple[int, ...]:
    return (*limit, *(1,) * (3 - len(limit))) if limit else ()
