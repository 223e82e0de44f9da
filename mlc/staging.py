"""jit: a Python function that is traced and compiled once for each signature it is called with."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from . import tree
from .errors import ArgumentError, MlcError
from .ir.graph.node import TRACES, current_table, has_active_table
from .runtime import ArrayBase, Function
from .runtime._array import default_device as default_device_number
from .tracing import Traced, Tracer, describe, outermost_trace, scope, trace
from .tracing.location import (
    DEFAULT_DEVICE_HOOKS,
    check_device_name,
    current_scope,
    default_device,
    user_location,
)
from .tracing.tracer import leaked
from .tree import TreeDef

if TYPE_CHECKING:
    from .explain import Record

Names = str | Sequence[str]


def jit(
    function: Callable[..., Any] | None = None,
    *,
    static_argnames: Names = (),
    donate_argnames: Names = (),
    device: str | None = None,
) -> Any:
    """Compile ``function``: traced at the first call with a new signature, native code from then on.

    Arguments and results are trees of arrays and numbers; numbers are traced. ``static_argnames`` are passed as they
    are (hashable; a new value compiles anew); arrays in ``donate_argnames`` give up their buffers to the results (and
    to a call that fails on its way) and must not be used again. ``device`` is where everything is computed that no
    ``mlc.device`` inside says otherwise of: ``cpu``, ``gpu:0`` (arguments are brought there, results stay), or one that
    ``MLC_DEVICES`` describes. Without it, a call runs on the GPU that its arguments are on.

    Raises ArgumentError for unknown names, TargetError (when it compiles) for a device that is not there, and what
    tracing raises.

    Example:
        >>> import mlc, mlc.numpy as mnp
        >>> f = mlc.jit(lambda x, y: mnp.sum(x * y))
        >>> float(f([1.0, 2.0][0], 3.0))
        3.0
    """
    if function is None:
        return functools.partial(jit, static_argnames=static_argnames, donate_argnames=donate_argnames, device=device)
    return JitFunction(function, _names(static_argnames), _names(donate_argnames), device)


def _names(names: Names) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


class JitFunction(Function):
    """What ``jit`` returns: callable, with ``lower(*args)`` for its stages."""

    __name__: str

    def __init__(
        self, function: Callable[..., Any], static: tuple[str, ...], donated: tuple[str, ...], device: str | None
    ) -> None:
        if not callable(function):
            raise ArgumentError(f"jit: {function!r:.60} is not a function")
        functools.update_wrapper(self, function)
        if device is not None:
            check_device_name(device)
        self.device = device
        self.function = function
        self.static = static
        self.donated = donated
        self._signature = _signature(function)
        self._positional = _positional_names(self._signature)
        self.records: list[Record] = []  # for explain_cache
        self._configure(self._positional, static, self._static_key, TRACES)
        if self._signature is not None:
            unknown = [n for n in (*static, *donated) if not _takes(self._signature, n)]
            if unknown:
                name = getattr(function, "__name__", "the function")
                raise ArgumentError(
                    f"jit: {name} has no argument {', '.join(unknown)}", hint=f"it is {name}{self._signature}"
                )

    def __reduce__(self) -> str:
        """Pickled by its name, as functions are."""
        return str(getattr(self, "__qualname__", type(self).__name__))

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        return self if instance is None else BoundFunction(self, instance)

    def lower(self, *args: Any, **kwargs: Any) -> Any:
        """Trace for these arguments (arrays, numbers or ShapeDtypes, which may be symbolic): a ``stages.Lowered``."""
        return self._lower(*self._split(args, kwargs))

    @property
    def _name(self) -> str:
        return str(getattr(self, "__name__", "function"))

    def _split(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]:
        """Arguments without the static ones, and those by name."""
        if not self.static:
            return args, kwargs, {}
        static = {k: v for k, v in kwargs.items() if k in self.static}
        kept = {k: v for k, v in kwargs.items() if k not in self.static}
        by_position = {i: n for i, n in enumerate(self._positional[: len(args)]) if n in self.static}
        if by_position:
            # what follows a static positional argument is passed by name, so that each keeps its place
            first = min(by_position)
            for i, x in enumerate(args[first:], first):
                if i < len(self._positional):
                    (static if i in by_position else kept)[self._positional[i]] = x
                else:
                    raise ArgumentError(f"{self._name}: takes {len(self._positional)} positional arguments")
            args = args[:first]
        return args, kept, static

    def _lower(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], static: dict[str, Any], home: str | None = None
    ) -> Any:
        """``home`` is the GPU for arguments that are specs; arrays and the function say it themselves."""
        from .stages import Lowered
        from .transforms.closed import raised
        from .transforms.custom_pullback import check_transposed

        home = home or self._home(args, kwargs)
        device = None if home is not None else self.device
        try:
            traced = raised(trace(self.function, args, kwargs, name=self._name, static=static, device=device))
        except RecursionError:
            raise ArgumentError(
                f"{self._name}: Python's recursion limit was reached while tracing", location=str(user_location()),
                hint="a call of itself has to end at a static argument; mlc.while_loop, fori_loop and scan repeat",
            ) from None  # fmt: skip
        check_transposed(traced.graph)
        lowered = Lowered(traced, self._donated_leaves(traced.in_tree, len(args)), home=home)
        if device is not None:
            lowered.options.machine.device(device)  # TargetError for one that is not there, though nothing runs on it
        return lowered

    def _home(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
        """The GPU that a call runs on: the function's own, that of its arguments, or that of ``mlc.device`` around."""
        from .devices import full_name, is_gpu

        if self.device is not None:
            return full_name(self.device) if is_gpu(self.device) else None
        found = {x.on.name: None for x in tree.leaves((args, kwargs)) if isinstance(x, ArrayBase) and x.on is not None}
        if len(found) > 1:
            raise ArgumentError(
                f"{self._name}: its arguments are on {' and '.join(found)}",
                location=str(user_location()),
                hint="bring them to one with mlc.device_put, or say jit(device=...)",
            )
        return next(iter(found), None) or default_device()

    def _donated_leaves(self, in_tree: TreeDef, count: int) -> frozenset[int]:
        """Which leaves belong to donated arguments."""
        if not self.donated:
            return frozenset()
        args_tree, kwargs_tree = in_tree.children
        keys = kwargs_tree.aux if isinstance(kwargs_tree.aux, tuple) else ()
        names = [*self._positional[:count], *keys]
        found: set[int] = set()
        begin = 0
        for name, child in zip(names, (*args_tree.children, *kwargs_tree.children), strict=False):
            if name in self.donated:
                found.update(range(begin, begin + child.num_leaves))
            begin += child.num_leaves
        return frozenset(found)

    # ------------------------------------------------------------ what the binding asks for

    def _compile_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, TreeDef]:
        """Compile for a signature that is new."""
        from .explain import Record

        args, kwargs, static = self._split(args, kwargs)
        compiled = self._lower(args, kwargs, static).compile()
        names = tuple([p["name"] for p in compiled.traced.graph.parameters])
        self.records.append(Record(names, compiled.in_tree, compiled.in_types, static, compiled.origin))
        return compiled.executable, compiled.out_tree

    def _call_traced(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call while some thread traces."""
        return self._call_inside(args, kwargs) if has_active_table() else self._call(args, kwargs)

    def _call_unusual(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call with leaves that the binding does not take: after their conversion, or an error that names them."""
        leaves, in_tree = tree.flatten((args, kwargs))
        usual = [_usual(x) for x in leaves]
        if all(a is b for a, b in zip(leaves, usual, strict=True)):
            self.lower(*args, **kwargs)
            raise ArgumentError(f"{self._name}: arguments {in_tree} are more than a call takes")
        args, kwargs = tree.unflatten(in_tree, usual)
        return self._call(args, kwargs)

    def _located(self, error: BaseException) -> None:
        if isinstance(error, MlcError) and error.location is None:
            error.location = str(user_location())

    def _static_key(self, static: Any) -> object:
        """What a static value is compared by."""
        key = static_key(static)
        try:
            hash(key)
        except TypeError as error:
            raise ArgumentError(
                f"{self._name}: a static argument is not hashable: {error}",
                location=str(user_location()),
                hint="pass it as an array, or as a tuple",
            ) from error
        return key

    def _call_inside(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call within another trace: a ``call`` of this function's own graph, in a scope of its name."""
        from .ir.graph.structure import CALL, results_of
        from .transforms.call import at_users_line
        from .transforms.closed import called

        args, kwargs, static = self._split(args, kwargs)
        with scope(self._name) if self._name.isidentifier() else nullcontext(), at_users_line():
            call = called(self._traced_inside(args, kwargs, static), args, kwargs)
            graph = call.traced.graph
            return call.tree_of(results_of(CALL(*call.operands, callee=graph)) if graph.results else ())

    def _traced_inside(self, args: tuple[Any, ...], kwargs: dict[str, Any], static: dict[str, Any]) -> Traced:
        """The function's graph, traced once in each outermost trace for the same types and scope."""
        from .transforms.closed import raised

        leaves, in_tree = tree.flatten((args, kwargs))
        known = outermost_trace().closed
        key = (
            self, in_tree, tuple(_type_of(x) for x in leaves), current_scope(), current_table().device,
            tuple((k, self._static_key(v)) for k, v in sorted(static.items())),
        )  # fmt: skip
        found: Traced | None = known.get(key)
        if found is None:
            found = raised(
                trace(self.function, args, kwargs, name=self._name, static=static, capture=True, device=self.device)
            )
            if not found.captured:  # what it captured is of the trace around it, which may be another next time
                known[key] = found
        return found


class BoundFunction(functools.partial[Any]):
    """A jitted method of one object; ``lower`` as the function's own."""

    def lower(self, *args: Any, **kwargs: Any) -> Any:
        return self.func.lower(*self.args, *args, **kwargs)  # type: ignore[attr-defined]


def _type_of(x: Any) -> object:
    """A leaf's type and weakness; None for what is no array, which tracing refuses."""
    try:
        return describe(x)
    except MlcError:
        return None


def _tell_binding(device: str | None) -> None:
    """Signatures differ where calls run by default on another GPU. TargetError for what is none and not described."""
    if device is None:
        default_device_number(0)
        return
    from .devices import is_gpu

    gpu = is_gpu(device)
    if not gpu:
        from .options import Options

        Options.from_environment().machine.device(device)
    default_device_number(int(device.partition(":")[2]) + 1 if gpu else 0)


DEFAULT_DEVICE_HOOKS.append(_tell_binding)


def eager(name: str, function: Callable[..., Any], *args: Any, **static: Any) -> Any:
    """Run ``function``, known as ``name``, on arrays outside any trace: compiled for their types, keywords static."""
    return _eager_function(name, function, tuple(sorted(static)))(*args, **static)


@functools.lru_cache(maxsize=4096)
def _eager_function(name: str, function: Callable[..., Any], static: tuple[str, ...]) -> JitFunction:
    made = JitFunction(function, static, (), None)
    made.__name__ = name
    return made


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def _positional_names(signature: inspect.Signature | None) -> tuple[str, ...]:
    if signature is None:
        return ()
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(p.name for p in signature.parameters.values() if p.kind in kinds)


def _takes(signature: inspect.Signature, name: str) -> bool:
    return name in signature.parameters or any(
        p.kind is inspect.Parameter.VAR_KEYWORD for p in signature.parameters.values()
    )


def static_key(static: Any) -> object:
    """A key that is equal for static values that mean the same: 1, 1.0 and True differ, and so do 0.0 and -0.0."""
    if isinstance(static, tuple):
        return (tuple, *[static_key(v) for v in static])
    return (float, static.hex()) if isinstance(static, float) else (type(static), static)


def _usual(x: Any) -> Any:
    """A leaf as the binding takes it, where it is not: an array of the other byte order. TracerError for a tracer."""
    if isinstance(x, Tracer):
        raise leaked(x)
    if isinstance(x, np.ndarray | np.generic) and not x.dtype.isnative:
        return x.astype(x.dtype.newbyteorder("="))
    return x
