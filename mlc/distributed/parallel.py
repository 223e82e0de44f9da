"""data_parallel: a step written for one process and a whole batch, done by all with a part of the batch each."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .. import tree
from ..errors import ArgumentError, DistributedError
from ..ir.graph import REPLICATED, SHARDED_CALL, results_of
from ..ir.graph.collective import RANK_TYPE, multiplied
from ..program import Program
from ..stages import Compiled, Lowered
from ..staging import JitFunction
from ..tracing import ShapeDtype, Traced, Tracer, as_node, bind, current_trace, trace, user_location
from ..tracing.lift import describe
from ..transforms.call import at_users_line
from ..transforms.closed import raised
from ..tree import TreeDef
from .collectives import all_gather
from .world import Axes, World, pretended, world

RANK = "_rank"  # the argument that tells a compiled step which rank runs it


def data_parallel(
    function: Callable[..., Any] | None = None,
    *,
    batch_argnames: str | Sequence[str] = (),
    batch_results: Any = False,
    axis: Axes = None,
) -> Any:
    """Let all processes of the world compute ``function`` together, each with its rows of the batch.

    ``function`` is written for one process: it is given the whole batch and means what it does there. Arguments in
    ``batch_argnames`` are trees of arrays with one row a sample (axis 0); each process passes its own rows, as many as
    every other, in the order of the ranks. All other arguments are the same on all processes. So are the results, but
    for those that ``batch_results`` says are rows (False, True, or a tree of these that begins as the result's): each
    process is given its rows of them. Losses are means over the whole batch, batch normalization sees all of it, and
    dropout draws for each sample what one process would draw.

    It is compiled as ``mlc.jit`` does, and may be a function that is jitted already, whose static and donated arguments
    stay so. What is computed of rows stays with the process that has them; sums over the batch, such as gradients, are
    added up by all-reduce; values that a step needs whole are gathered. In a world of one process it is ``function``.
    Lowered ahead, a process's rows may be ``mlc.dim``: the whole batch has that many for each process.
    With ``axis``, the batch is cut along these axes of the world alone (see ``init``): each of the groups of processes
    that differ in them has a batch of its own.
    Results equal those of one process up to rounding, and are the same bits on all processes.

    Raises ArgumentError for unknown names and for a batch argument without rows, and what tracing raises.

    Example:
        >>> import mlc, mlc.numpy as mnp
        >>> @mlc.distributed.data_parallel(batch_argnames=("x", "y"))
        ... def step(w, x, y):
        ...     return w - 0.1 * mlc.grad(lambda w: mnp.mean((x @ w - y) ** 2))(w)
        >>> step(mnp.zeros(2), mnp.ones((4, 2)), mnp.ones(4)).shape
        (2,)
    """
    if function is None:
        return functools.partial(data_parallel, batch_argnames=batch_argnames, batch_results=batch_results, axis=axis)
    names = (batch_argnames,) if isinstance(batch_argnames, str) else tuple(batch_argnames)
    return ParallelFunction(function, names, batch_results, axis)


class ParallelFunction(JitFunction):
    """What ``data_parallel`` returns: called and lowered as functions of ``jit`` are, with a process's own rows."""

    def __init__(
        self, function: Callable[..., Any], batch: tuple[str, ...], batch_results: Any, axis: Axes = None
    ) -> None:
        jitted = function if isinstance(function, JitFunction) else JitFunction(function, (), (), None)
        name = getattr(jitted.function, "__name__", "the function")
        if isinstance(jitted, ParallelFunction):
            raise ArgumentError(
                f"data_parallel: {name} is a function of data_parallel already", location=str(user_location()),
                hint="apply it once, with all batch_argnames and all axes of the world along which it cuts",
            )  # fmt: skip
        self.parallel = _Parallel(jitted.function, batch, batch_results, jitted.static, axis)
        unknown = [n for n in batch if n not in self.parallel.signature.parameters]
        if unknown or set(batch) & set(jitted.static):
            raise ArgumentError(
                f"data_parallel: {name} has no array argument {', '.join(unknown or sorted(set(batch)))}",
                hint=f"it is {name}{self.parallel.signature}",
            )
        super().__init__(self.parallel.wrapper(), jitted.static, jitted.donated, jitted.device)
        self.__signature__ = self.parallel.signature

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(*args, **kwargs, **self.parallel.own_rank())

    def lower(self, *args: Any, **kwargs: Any) -> Any:
        """As that of ``mlc.jit``, for a process's own rows; what it compiles to is called as this function is."""
        rank = self.parallel.own_rank()
        lowered = super().lower(*args, **kwargs, **rank)
        return ParallelLowered(lowered, self.parallel) if rank else lowered

    def _compile_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, TreeDef]:
        if RANK in kwargs:
            self.parallel.check_rows(args, _users(kwargs))
        made = super()._compile_call(args, kwargs)
        record = self.records[-1]
        types = {n: t for n, t in zip(record.names, record.types, strict=True) if n != RANK}
        self.records[-1] = replace(
            record, names=tuple(types), types=tuple(types.values()), structure=_users_tree(record.structure)
        )
        return made

    def _split(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]:
        bind(self._name, self.parallel.signature, args, _users(kwargs))  # an error is in the words of the user's own
        return super()._split(args, kwargs)


class ParallelLowered(Lowered):
    """A step that was lowered among several processes."""

    def __init__(self, lowered: Lowered, parallel: _Parallel) -> None:
        vars(self).update(vars(lowered))
        self.parallel = parallel

    def compile(self) -> ParallelCompiled:
        compiled = super().compile()
        return ParallelCompiled(compiled.traced, compiled.program, self.parallel)


class ParallelCompiled(Compiled):
    """A step that was compiled among several processes: called by each with its own rows, as the function is."""

    def __init__(self, traced: Traced, program: Program, parallel: _Parallel) -> None:
        super().__init__(traced, program)
        self.parallel = parallel

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(*args, **kwargs, **self.parallel.ranked(world()))

    def _given(self, in_tree: TreeDef) -> TreeDef:
        return _users_tree(in_tree)


def _users_tree(in_tree: TreeDef) -> TreeDef:
    """The structure of the arguments that users pass."""
    args, kwargs = tree.unflatten(in_tree, range(in_tree.num_leaves))
    return tree.flatten((args, _users(kwargs)))[1]


def _users(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in kwargs.items() if k != RANK}


class _Parallel:
    """Traces a function on whole batches inside of the trace of a process's rows."""

    def __init__(
        self, function: Callable[..., Any], batch: tuple[str, ...], batch_results: Any, static: tuple[str, ...],
        axis: Axes,
    ) -> None:  # fmt: skip
        self.function, self.batch, self.batch_results, self.static = function, batch, batch_results, static
        self.axis = axis
        self._ranks: dict[World, Any] = {}
        self.signature = inspect.signature(function)

    def own_rank(self) -> dict[str, Any]:
        """The argument that the function has beside the user's; none in a world of one."""
        here = world()
        return self.ranked(here) if here.size > 1 else {}

    def ranked(self, here: World) -> dict[str, Any]:
        """This process's place among those that share a batch, by its name, as an array."""
        if here not in self._ranks:
            from ..array import Array
            from ..runtime._array import from_buffer

            (place,) = (group.index(here.rank) for group in here.groups(self.axis) if here.rank in group)
            self._ranks[here] = from_buffer(Array, np.asarray(place, np.int64), True)
        return {RANK: self._ranks[here]}

    def wrapper(self) -> Callable[..., Any]:
        """A function with one more argument by name, the rank."""

        @functools.wraps(self.function)
        def parallel(*args: Any, **kwargs: Any) -> Any:
            rank = kwargs.pop(RANK, None)
            return self.alone(args, kwargs) if rank is None else self.call(rank, args, kwargs)

        parameters = list(self.signature.parameters.values())
        last = [p for p in parameters if p.kind is inspect.Parameter.VAR_KEYWORD]
        extra = inspect.Parameter(RANK, inspect.Parameter.KEYWORD_ONLY, default=None)
        parameters = [*(p for p in parameters if p not in last), extra, *last]
        parallel.__signature__ = self.signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        return parallel

    def alone(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The function in a world of one, where it is refused what it would be among several."""
        world().along(self.axis)
        given = bind(self.function.__name__, self.signature, args, kwargs).arguments
        for name in self.batch:
            self._whole(name, given.get(name), 1)
        result = self.function(*args, **kwargs)
        self._rows(tree.flatten(result)[1])
        return result

    def call(self, rank: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        groups, name = world().groups(self.axis), self.function.__name__
        ranks = len(groups[0])
        static = {k: v for k, v in kwargs.items() if k in self.static}
        given = {k: v for k, v in kwargs.items() if k not in self.static}
        bound = self.signature.bind(*args, **given, **static)
        positional = list(bound.signature.parameters)[: len(args)]
        with at_users_line():
            whole_args = [self._whole(n, x, ranks) for n, x in zip(positional, args, strict=False)]
            whole_args += [self._whole("", x, ranks) for x in args[len(positional) :]]
            whole = {k: self._whole(k, x, ranks) for k, x in given.items()}
            with pretended(1):  # inside, there is one process
                traced = raised(trace(self.function, whole_args, whole, name=name, static=static, capture=True))
            leaves, _ = tree.flatten((tuple(args), given))
            wholes, _ = tree.flatten((tuple(whole_args), whole))
            own = [as_node(x, t.dtype) for x, t in zip(leaves, traced.in_types, strict=True)]
            cut = [0 if isinstance(w, ShapeDtype) else REPLICATED for w in wholes]
            operands = [*own, *(as_node(c) for c in traced.captured)]
            node = SHARDED_CALL(
                *operands, as_node(rank, RANK_TYPE.dtype), callee=traced.graph,
                in_shardings=(*cut, *(REPLICATED for _ in traced.captured)),
                out_shardings=tuple(0 if rows else REPLICATED for rows in self._rows(traced.out_tree)),
                replica_groups=groups,
            )  # fmt: skip
            results = results_of(node)
        trace_here = current_trace()
        tracers = [Tracer(n, trace_here, weak) for n, weak in zip(results, traced.out_weak, strict=True)]
        return tree.unflatten(traced.out_tree, tracers)

    def check_rows(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """All processes have as many rows. Raises DistributedError where they have not: sums would be of another batch.

        Every process asks when it compiles for a new signature.
        """
        bound = bind(self.function.__name__, self.signature, args, kwargs).arguments
        leaves = [leaf for name in self.batch for leaf in tree.leaves(bound.get(name))]
        mine = [int(np.shape(leaf)[0]) if np.ndim(leaf) else 0 for leaf in leaves]
        of_ranks = np.asarray(all_gather(np.asarray([mine], np.int64), axis=self.axis))
        if (of_ranks != of_ranks[0]).any():
            words = "; ".join(f"rank {r} has {', '.join(map(str, rows))}" for r, rows in enumerate(of_ranks.tolist()))
            raise DistributedError(
                f"{self.function.__name__}: the processes have different numbers of rows: {words}",
                location=str(user_location()), hint="cut each batch into parts of one size, or leave out its rest",
            )  # fmt: skip

    def _whole(self, name: str, x: Any, ranks: int) -> Any:
        """An argument as the function sees it: rows of all processes, or as it is."""
        if name not in self.batch:
            return x
        leaves, structure = tree.flatten_with_paths(x, name)
        found = []
        for path, leaf in leaves:
            type = describe(leaf, path)[0]
            if not type.rank:
                raise ArgumentError(
                    f"data_parallel: {path} is {type}, which has no rows", location=str(user_location()),
                    hint="batch_argnames are arrays with a sample in each row",
                )  # fmt: skip
            found.append(ShapeDtype(multiplied(type, 0, ranks).shape, type.dtype))
        return tree.unflatten(structure, found)

    def _rows(self, out_tree: TreeDef) -> list[bool]:
        """Which results are rows."""
        flags, wanted = tree.flatten(self.batch_results)
        rest, found = iter(flags), list[bool]()
        work = [(wanted, out_tree)]
        while work:
            one, other = work.pop()
            if one.kind is None:
                found += [bool(next(rest))] * other.num_leaves
            elif (one.kind, one.aux, len(one.children)) == (other.kind, other.aux, len(other.children)):
                work += reversed(list(zip(one.children, other.children, strict=True)))
            else:
                words = tree.difference(other, one)
                raise ArgumentError(f"data_parallel: batch_results does not begin as the result does: {words}")
        return found
