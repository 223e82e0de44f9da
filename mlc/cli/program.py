"""Runs a user's program for a verb: as __main__, its failure shown as the user's own traceback."""

from __future__ import annotations

import contextlib
import os
import runpy
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from mlc.errors import ArgumentError, MlcError, Notice

if TYPE_CHECKING:
    from mlc.ir.graph import Graph

T = TypeVar("T")

# Frames of these places are ours, not the user's: the package's folders wherever it is installed, and runpy.
_HERE = Path(__file__).resolve().parents[1]
_MAPPED = tuple(_HERE.parent / name for name in ("passes", "codegen", "runtime"))


def execute(path: Path, arguments: Sequence[str]) -> None:
    """Run the file at `path` as __main__ with `arguments`, its folder first on sys.path, notices as one line.

    All is put back afterwards.
    """
    saved_arguments, saved_path = sys.argv, list(sys.path)
    sys.argv = [str(path), *arguments]
    sys.path.insert(0, str(path.resolve().parent))
    plain = warnings.formatwarning
    warnings.formatwarning = lambda message, category, *where, **more: (
        f"notice: {message}\n" if issubclass(category, Notice) else plain(message, category, *where, **more)
    )
    try:
        runpy.run_path(str(path), run_name="__main__")
    finally:
        sys.argv, sys.path[:], warnings.formatwarning = saved_arguments, saved_path, plain


class Compiled(NamedTuple):
    """A graph that a program compiled, and the parameters that it donates."""

    name: str
    graph: Graph
    donated: frozenset[int]


def compiled_by(program: Path, arguments: Sequence[str], quiet: bool) -> tuple[int, list[Compiled], list[Compiled]]:
    """Run a program: its exit code, what it compiled, once each, and what it exports; ``quiet``: it prints to stderr.

    Raises ArgumentError where a program that ends well does neither.
    """
    from mlc.artifact.exporting import recording
    from mlc.dump import TRACED, read_donated, read_graph

    with tempfile.TemporaryDirectory(prefix="mlc-graphs-") as folder, recording() as exports:
        before = os.environ.get("MLC_DUMP")
        os.environ["MLC_DUMP"] = folder
        try:
            status, _ = guarded(lambda: execute(program, arguments), output_to_stderr=quiet)
        finally:
            if before is None:
                del os.environ["MLC_DUMP"]
            else:
                os.environ["MLC_DUMP"] = before
        folders = sorted(p.parent for p in Path(folder).glob(f"*/{TRACED}"))
        graphs = [(read_graph(f / TRACED), read_donated(f)) for f in folders]
    found = [Compiled(graph.name, graph, donated) for graph, donated in graphs]
    exported = [Compiled(e.name, e.traced.graph, frozenset()) for e in exports]
    if not status and not found and not exported:
        raise ArgumentError(f"{program} exports nothing and compiles nothing")
    return status, list({(c.graph.fingerprint, c.donated): c for c in found}.values()), exported


def guarded(work: Callable[[], T], *, output_to_stderr: bool = False) -> tuple[int, T | None]:
    """`(0, work())`, or the exit code for what `work` raised, with the user's part of the traceback on stderr.

    1 for any exception of the program and for a non-zero sys.exit, the error's own code for an MlcError.
    """
    redirect = contextlib.redirect_stdout(sys.stderr) if output_to_stderr else contextlib.nullcontext()
    try:
        with redirect:
            return 0, work()
    except SystemExit as stop:
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
        return int(bool(stop.code)), None
    except KeyboardInterrupt:
        return 130, None
    except MlcError as error:
        print_trimmed(error)
        return error.exit_code, None
    except Exception as error:
        print_trimmed(error)
        return 1, None


def print_trimmed(error: BaseException) -> None:
    """Print `error` with the frames that are the user's (all of them where none is).

    Of an error that mlc does not raise on purpose, the frames of mlc that the user's called are printed too.
    """
    shown = traceback.TracebackException(type(error), error, error.__traceback__)
    for part in _chain(shown):
        users = [i for i, frame in enumerate(part.stack) if not is_ours(frame.filename)]
        if not users:
            continue
        on_purpose = users[-1] == len(part.stack) - 1 or (part.stack[-1].line or "").startswith("raise")
        shown_frames = [part.stack[i] for i in users] if on_purpose else part.stack[users[0] :]
        part.stack = traceback.StackSummary.from_list(shown_frames)
    print("".join(shown.format()), end="", file=sys.stderr)


def is_ours(filename: str) -> bool:
    """Is this source file part of mlc or of the machinery that runs a program?"""
    if filename.startswith("<frozen"):
        return True
    path = Path(filename)
    return path.is_relative_to(_HERE) or any(path.is_relative_to(folder) for folder in _MAPPED if _in_checkout())


def _in_checkout() -> bool:
    return (_HERE.parent / "setup.py").exists()


def _chain(shown: traceback.TracebackException) -> list[traceback.TracebackException]:
    """`shown` and the causes and contexts that are printed with it."""
    parts, pending = [], [shown]
    while pending:
        part = pending.pop()
        parts.append(part)
        pending += [p for p in (part.__cause__, part.__context__) if p is not None]
    return parts
