"""`mlc.export`: marks the functions of a program that `mlc compile` puts into the artifact."""

from __future__ import annotations

import inspect
import keyword
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlc.errors import ArgumentError, UnsupportedError

if TYPE_CHECKING:
    from mlc.ir.graph import Graph
    from mlc.tracing import Traced


@dataclass(frozen=True, slots=True)
class Export:
    """One exported function: its trace, and the names of its positional arguments in order."""

    name: str
    traced: Traced
    positional: tuple[str, ...]


_recording: ContextVar[list[Export] | None] = ContextVar("mlc_recording", default=None)


def export(name: str, function: Callable[..., Any], /, *specs: Any, **named_specs: Any) -> None:
    """Mark ``function`` for the artifact under ``name``, with the types of its arguments.

    A spec is a ``ShapeDtype`` (its shape may hold ``mlc.dim``), an array that stands for its type, or a tree of these.
    Arrays that the function closes over become weights of the artifact, with the values they have now. Under
    ``mlc compile`` the function is traced at once; in a plain run this only checks the name.

    Raises ArgumentError for a name that C does not take or that is taken, and whatever tracing raises.

    Example:
        >>> import mlc
        >>> mlc.export("double", lambda x: x + x, x=mlc.ShapeDtype((mlc.dim("n", 1, 8),), "f32"))
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) or keyword.iskeyword(name) or name == "library":
        raise ArgumentError(
            f"export: {name!r} cannot name a function of the artifact",
            hint="use letters, digits and underscores; `library` and Python's keywords are taken",
        )
    exports = _recording.get()
    if exports is None:
        return
    if any(e.name == name for e in exports):
        raise ArgumentError(f"export: {name!r} is exported twice", hint="give each exported function its own name")
    from mlc.tracing import trace
    from mlc.transforms.custom_pullback import check_transposed

    traced = trace(function, specs, named_specs, name=name)
    check_transposed(traced.graph)
    _check_alone(name, traced.graph)
    exports.append(Export(name, traced, tuple(_positional_names(function, len(specs)))))


def _check_alone(name: str, graph: Graph) -> None:
    """UnsupportedError for a step that is cut among processes: its code would have the number of the one that exports.

    Collectives are not refused: `runtime/mlc.h` has a world for them.
    """
    from mlc.ir.graph import SHARDED_CALL, with_nested

    for current in with_nested(graph):
        for node in current.nodes:
            if node.op is SHARDED_CALL:
                where = current.locations(node)
                raise UnsupportedError(
                    f"export: {name} is cut among the processes of this world by data_parallel, and an artifact is "
                    "for one of them", location=str(where[0]) if where else None,
                    hint="export it from a process of its own, where a data-parallel function is the function itself",
                )  # fmt: skip


@contextmanager
def recording() -> Iterator[list[Export]]:
    """While open, `export` traces and records; gives the list it fills."""
    exports: list[Export] = []
    token = _recording.set(exports)
    try:
        yield exports
    finally:
        _recording.reset(token)


def _positional_names(function: Callable[..., Any], count: int) -> list[str]:
    """The function's own names of its first ``count`` parameters; ``argN`` where it has none."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    plain = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return [plain[i] if i < len(plain) else f"arg{i}" for i in range(count)]
