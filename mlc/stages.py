"""A jitted function's stages as objects: Lowered (a graph) and Compiled (a plan with machine code)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from . import tree
from .devices import with_devices
from .errors import ArgumentError, DTypeError, MlcError, ShapeError
from .ir.graph import Graph
from .ir.graph.node import TRACES
from .options import Options
from .program import Origin, Program
from .runtime import Executable, Function
from .tracing import Traced, user_location
from .tree import TreeDef

if TYPE_CHECKING:
    from .analysis import MemoryAnalysis
    from .compiler import CompiledFunction
    from .profile import Profile

RECOMPILE = "lower it again for these arguments, or call the jitted function"
STAGES = ("graph", "optimized", "kernels", "plan", "llvm", "asm", "ptx")


class Lowered:
    """A traced function: ``f.lower(*specs)``. ``compile()`` gives the next stage, ``as_text()`` prints this one.

    ``home`` is the GPU whose memory arguments and results are in, None for the host.
    """

    def __init__(
        self,
        traced: Traced,
        donated: frozenset[int] = frozenset(),
        options: Options | None = None,
        home: str | None = None,
    ) -> None:
        self.traced = traced
        self.donated = donated
        self.options = with_devices(options or Options.from_environment(), traced.graph, home)

    @property
    def graph(self) -> Graph:
        return self.traced.graph

    def compile(self) -> Compiled:
        """Machine code for this machine (or ``MLC_TARGET``), ready to be called: from the cache where it is there."""
        names = tree.paths(self.traced.out_tree, "out")
        return Compiled(self.traced, Program(self.graph, self.options, names, self.donated))

    def as_text(self, stage: str = "graph") -> str:
        """The text of this stage, or of a later one (``optimized``, ``kernels``, ``plan``, ``llvm``, ``asm``)."""
        if stage == "graph":
            return str(self.graph)
        if stage == "optimized":
            from .passes.runner import PIPELINES, on_machine, run_passes

            pipeline = on_machine(PIPELINES[self.options.target.name], self.options.machine, self.options.home)
            return str(run_passes(self.graph, pipeline, verify=self.options.verify, skip=self.options.skip)[0])
        return self.compile().as_text(stage)

    def cost_analysis(self, sizes: Mapping[str, int] | None = None) -> dict[str, Any]:
        """``flops``, ``transcendentals`` and ``bytes accessed`` of one call, as traced; by scope under ``scopes``.

        Symbolic sizes take ``sizes`` or their upper bound. A node's cost goes to the first of its locations, so that
        the sums over scopes equal the total.

        Example:
            >>> import mlc
            >>> f = mlc.jit(lambda x, y: x @ y)
            >>> f.lower(mlc.ShapeDtype((2, 3)), mlc.ShapeDtype((3, 4))).cost_analysis()["flops"]
            48
        """
        from .analysis import analyse_cost

        return analyse_cost(self.graph, sizes)

    def memory_analysis(self) -> MemoryAnalysis:
        """Bytes of arguments, results, temporaries and code, of the program compiled: see `Compiled.memory_analysis`.

        Example:
            >>> import mlc
            >>> mlc.jit(lambda x: x + 1).lower(mlc.ShapeDtype((2, 3))).memory_analysis().output_size_in_bytes
            24
        """
        return self.compile().memory_analysis()


class Compiled(Function):
    """A compiled function: callable with arrays of the types it was lowered for (any size within symbolic bounds)."""

    def __init__(self, traced: Traced, program: Program) -> None:
        self.traced = traced
        self.program = program
        self.in_tree = traced.in_tree
        self.out_tree = traced.out_tree
        self.in_types = traced.in_types
        self.executable = program.executable
        self._configure((), (), hash, TRACES)

    @property
    def function(self) -> CompiledFunction:
        """The stages; of a program from the cache they are made now."""
        return self.program.function

    @property
    def origin(self) -> Origin:
        """Whether it came from the cache on disk, and why not."""
        return self.program.origin

    def as_text(self, stage: str = "plan") -> str:
        """The text of ``stage``: graph, optimized, kernels, plan, llvm, asm or ptx. ArgumentError for another."""
        from .compiler import assembly_of, kernels_text

        texts = {
            "graph": lambda: str(self.traced.graph),
            "optimized": lambda: str(self.function.optimized),
            "kernels": lambda: kernels_text(self.function.kernels),
            "plan": lambda: str(self.program.plan),
            "llvm": lambda: self.function.llvm,
            "asm": lambda: assembly_of(self.function.llvm, self.function.options),
            "ptx": lambda: "\n".join(self.function.images) or "// no kernel runs on a GPU",
        }
        if stage not in texts:
            raise ArgumentError(f"as_text: stage {stage!r} is none of {', '.join(STAGES)}")
        return texts[stage]()

    @contextmanager
    def profile(self) -> Iterator[Profile]:
        """Measure every step of the plan in the calls of the block; print the object it gives.

        Calls of other threads in the meantime count too.

        Example:
            >>> import mlc, mlc.numpy as mnp
            >>> x = mnp.ones((4, 4))
            >>> compiled = mlc.jit(lambda x: mnp.sum(x @ x)).lower(x).compile()
            >>> with compiled.profile() as profile:
            ...     results = [compiled(x) for _ in range(10)]
            >>> profile.calls
            10
        """
        from .profile import Profile

        profile = Profile(self.program.plan)
        self.executable.start_profile()
        try:
            yield profile
        finally:
            profile.calls, times = self.executable.stop_profile()
            profile.record(times)

    def cost_analysis(self, sizes: Mapping[str, int] | None = None) -> dict[str, Any]:
        """As ``Lowered.cost_analysis``, of the optimized graph: a fused region reads and writes as a whole."""
        from .analysis import analyse_cost

        return analyse_cost(self.function.optimized, sizes)

    def memory_analysis(self) -> MemoryAnalysis:
        """Bytes of arguments, outputs, temporaries, constants and code, and every buffer of the arena.

        Example:
            >>> import mlc
            >>> x = mlc.ShapeDtype((8, 8))
            >>> mlc.jit(lambda x: x @ x).lower(x).compile().memory_analysis().argument_size_in_bytes
            256
        """
        from .analysis import analyse_memory

        return analyse_memory(self.function)

    # ------------------------------------------------------------ what the binding asks for

    def _compile_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Executable, TreeDef]:
        """The code for another signature of the same structure: a symbolic size has another value."""
        self._flattened(args, kwargs)
        return self.executable, self.out_tree

    def _call_traced(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._call(args, kwargs)

    def _call_unusual(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call with leaves that need a conversion, or that the executable refuses by name."""
        leaves = [_native(x) for x in self._flattened(args, kwargs)]
        return tree.unflatten(self.out_tree, self.executable(leaves))

    def _located(self, error: BaseException) -> None:
        if isinstance(error, MlcError):
            error.location = error.location or str(user_location())
            if isinstance(error, ArgumentError | ShapeError | DTypeError):
                error.hint = error.hint or RECOMPILE

    def _flattened(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        leaves, in_tree = tree.flatten((args, kwargs))
        if in_tree != self.in_tree:
            raise ArgumentError(
                f"{self.traced.graph.name}: was compiled for arguments {self._given(self.in_tree)}, called with "
                f"{self._given(in_tree)}",
                location=str(user_location()),
                hint=RECOMPILE,
            )
        return leaves

    def _given(self, in_tree: TreeDef) -> TreeDef:
        """The structure of what users pass."""
        return in_tree


def _native(x: Any) -> Any:
    """An array in this machine's byte order."""
    if isinstance(x, np.ndarray | np.generic) and not x.dtype.isnative:
        return x.astype(x.dtype.newbyteorder("="))
    return x
