"""All ranks of a world in this process: a compiled function run for each, with the order of sums that is asked for.

The plan is interpreted and its kernels are the compiled ones, so that the results are the bits of a distributed run
whose library folds in the same order. It is an oracle for tests, not a way to compute: ranks take turns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import tree
from ..errors import ArgumentError
from ..staging import JitFunction
from .parallel import RANK, ParallelFunction
from .world import pretended

if TYPE_CHECKING:
    from ..ir.plan import Plan


class Simulation:
    """``function`` (of ``jit`` or ``data_parallel``) on ``ranks`` ranks, whose collectives fold in ``order``.

    ``order`` is one of ``mlc.ir.collective.ORDERS``. Called with the arguments of every rank, a sequence of tuples, it
    gives the result of every rank, with NumPy arrays as leaves. Compiled for the types of the first call.

    Example:
        >>> import mlc
        >>> from mlc.distributed.simulation import Simulation
        >>> total = Simulation(mlc.jit(lambda x: mlc.all_reduce(x)), 3)
        >>> [float(x) for x in total([(1.0,), (2.0,), (4.0,)])]
        [7.0, 7.0, 7.0]
    """

    def __init__(
        self, function: JitFunction, ranks: int, *, order: str = "linear", axes: Mapping[str, int] | None = None
    ) -> None:
        self.function, self.ranks, self.order, self.axes = function, ranks, order, axes
        self._compiled: Any = None

    @property
    def plan(self) -> Plan:
        """What every rank runs; there is one after the first call."""
        plan: Plan = self._compiled.function.plan
        return plan

    def __call__(self, arguments: Sequence[Sequence[Any]]) -> list[Any]:
        from ..compiler import kernel_codes
        from ..ir.plan.interpret import NativeKernel, interpret_ranks

        if len(arguments) != self.ranks:
            raise ArgumentError(f"simulation: of {self.ranks} ranks, was given the arguments of {len(arguments)}")
        if self._compiled is None:
            with pretended(self.ranks, self.axes):
                self._compiled = self.function.lower(*arguments[0]).compile()
        compiled = self._compiled.function
        codes = kernel_codes(compiled)
        inputs = [self._leaves(rank, own) for rank, own in enumerate(arguments)]
        kernels = [NativeKernel(code.address) for code in codes if code is not None]
        if len(kernels) < len(codes):
            raise ArgumentError(f"simulation: {compiled.plan.name} has kernels of a GPU; simulate it on cpu:0")
        found = interpret_ranks(compiled.plan, kernels, compiled.constants, inputs, order=self.order)
        return [tree.unflatten(self._compiled.out_tree, leaves) for leaves in found]

    def _leaves(self, rank: int, own: Sequence[Any]) -> list[Any]:
        named = {RANK: np.int64(rank)} if isinstance(self.function, ParallelFunction) else {}
        leaves = tree.leaves((tuple(own), named))
        return [np.asarray(x, t.dtype.numpy) for x, t in zip(leaves, self._compiled.in_types, strict=True)]
