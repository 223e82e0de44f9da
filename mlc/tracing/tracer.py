"""Tracer: what stands for an array while a function is traced, and the trace it belongs to."""

from __future__ import annotations

from typing import Any, NoReturn

from mlc.errors import TracerError
from mlc.ir.graph.node import Node, Table, current_table, outermost_table
from mlc.ir.types import DType, Shape

from .location import user_location
from .value import Value


class Trace:
    """The making of one graph: its table, the name of the traced function, and whether it is still going on.

    ``outer`` is the trace that was active when this one began. A value of ``outer`` used here is captured where
    ``captures`` is a dict: it becomes a parameter of this graph, and the dict keeps which (outer tracer -> parameter).
    The outermost trace keeps what nodes name by number, derivatives that the user wrote (``rules``), and functions that
    were traced inside of it, to be called again (``closed``).
    """

    __slots__ = ("captures", "closed", "constants", "ended", "inside", "name", "outer", "rules", "table")

    def __init__(self, table: Table, name: str, outer: Trace | None = None, *, capture: bool = False) -> None:
        self.table = table
        self.name = name
        self.outer = outer
        self.ended = False
        self.inside = False  # an operation of mlc is running: the user's line is known
        self.constants: dict[int, tuple[Any, Node]] = {}  # id of a host array -> (the array, kept alive; its constant)
        self.captures: dict[Node, tuple[Tracer, Node]] | None = {} if capture else None
        self.rules: list[Any] = []
        self.closed: dict[object, Any] = {}
        table.trace = self


class Tracer(Value):
    """A traced value: a node of the graph being made, and whether its type is weak (came from Python scalars alone)."""

    __slots__ = ("__weakref__", "node", "trace", "weak")

    node: Node
    weak: bool
    trace: Trace

    def __init__(self, node: Node, trace: Trace, weak: bool = False) -> None:
        self.node = node
        self.trace = trace
        self.weak = weak

    @property
    def shape(self) -> Shape:
        return self.node.tensor.shape

    @property
    def dtype(self) -> DType:
        return self.node.tensor.dtype

    @property
    def size(self) -> Any:
        return self.node.tensor.size

    def __repr__(self) -> str:
        return f"Tracer({self.node.type}{', weak' if self.weak else ''})"

    def __bool__(self) -> NoReturn:
        _refuse(
            self, "bool", "`if`, `while`, `and`, `or` and `not` need a value",
            "mlc.cond, mlc.while_loop and mlc.numpy.where take it, & | ~ combine; or make it static (static_argnames)",
        )  # fmt: skip

    def __int__(self) -> NoReturn:
        _refuse(self, "int", "int() needs a value", ".astype('i64') converts a traced value")

    def __float__(self) -> NoReturn:
        _refuse(
            self,
            "float",
            "float() needs a value",
            "mlc.numpy has the functions of math; .astype('f32') converts a traced value",
        )

    def __complex__(self) -> NoReturn:
        _refuse(self, "complex", "complex() needs a value", "mlc has no complex numbers")

    def __index__(self) -> NoReturn:
        _refuse(
            self,
            "index",
            "a Python index, size or range needs a value",
            "x.shape is known while tracing; an argument can be made static (static_argnames)",
        )

    def __format__(self, spec: str) -> str:
        if spec:
            _refuse(self, "format", f"a format such as {spec!r} needs a value", "return it, and format the result")
        return str(self)

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        _refuse(
            self,
            "asarray",
            "NumPy needs a value",
            "use the function of mlc.numpy, or return the value and convert it outside",
        )

    def item(self) -> NoReturn:
        _refuse(self, "item", "item() needs a value", "return it from the function and call item() outside")

    def tolist(self) -> NoReturn:
        _refuse(self, "tolist", "tolist() needs a value", "return it from the function and call tolist() outside")

    def __setitem__(self, key: object, value: object) -> NoReturn:
        raise TracerError(
            f"setitem: {self.node.type} cannot be assigned to: values do not change",
            location=str(user_location()),
            hint="x = x.at[key].set(value) makes the changed value, mlc.numpy.where(mask, new, old) too",
        )


def current_trace() -> Trace:
    """The trace of the innermost active table, made where it has none. Raises RuntimeError outside of a trace."""
    return _trace_of(current_table())


def outermost_trace() -> Trace:
    """The trace of the outermost active table of this thread: what it keeps is there as long as anything is traced."""
    return _trace_of(outermost_table())


def _trace_of(table: Table) -> Trace:
    trace = table.trace
    if trace is None:
        trace = Trace(table, "a graph")
    assert isinstance(trace, Trace)
    return trace


def made_at(tracer: Tracer) -> str:
    """Words for where a traced value comes from."""
    node = tracer.node
    if node.op.name == "parameter":
        return (
            f"argument {node['name']} of {tracer.trace.name}" if node["name"] else f"an argument of {tracer.trace.name}"
        )
    locations = tracer.trace.table.locations.get(node, ())
    return f"made at {locations[0]}" if locations else "made by mlc"


def leaked(tracer: Tracer) -> TracerError:
    """The error for a value that is used when its trace has ended, or in a trace that it is no part of."""
    name = tracer.trace.name
    function = name.rpartition(": ")[2]
    ended = "which has ended" if tracer.trace.ended else "which is not the one going on here"
    return TracerError(
        f"a traced {tracer.node.type} was used outside of its trace: it is {made_at(tracer)},\n"
        f"and belongs to the trace of {name}, {ended}",
        location=str(user_location()),
        hint=f"return it from {function} or pass it in as an argument; globals and attributes cannot keep it",
    )


def _refuse(tracer: Tracer, name: str, need: str, hint: str) -> NoReturn:
    if tracer.trace.ended:
        raise leaked(tracer)
    raise TracerError(
        f"{name}: {need}, but this {tracer.node.type} is traced:\nit has none before the compiled function runs; "
        f"it is {made_at(tracer)}",
        location=str(user_location(2)),
        hint=hint,
    )
