"""A failure inside of the compiler to a report: the pass that failed, its input, and a command that repeats it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .dump import write_graph
from .errors import InternalError, MlcError
from .ir.graph import Graph

LINES = 40  # of the graph that the message shows; the file has all of them


@contextlib.contextmanager
def reported(stage: str, graph: Graph, folder: Path | None = None) -> Iterator[None]:
    """What fails inside, other than by the user's mistake, becomes an InternalError about ``stage`` of ``graph``.

    The graph (that of the pass that failed, where the error has one) is written below ``folder``, or into a folder of
    its own in the system's place for temporary files.
    """
    try:
        yield
    except MlcError:
        raise
    except InternalError as error:
        failed = error.graph if isinstance(error.graph, Graph) else graph
        raise _report(str(error), error.stage or stage, failed, folder) from error
    except Exception as error:
        raise _report(f"{stage} failed: {error!r}", stage, graph, folder) from error


def _report(message: str, stage: str, graph: Graph, folder: Path | None) -> InternalError:
    lines = [message, "This is a mistake in mlc, not in your program."]
    try:
        place = Path(tempfile.mkdtemp(prefix="mlc-")) if folder is None else folder
        path = place / f"before-{stage}.graph"
        write_graph(path, graph)
        lines.append(f"To repeat it: {command(stage, path)}")
    except OSError as error:
        lines.append(f"Its input could not be written: {error}")
    text = str(graph).splitlines()
    more = [f"... {len(text) - LINES} more lines"] if len(text) > LINES else []
    return InternalError("\n".join([*lines, f"The graph before {stage}:", *text[:LINES], *more]), graph, stage)


def command(stage: str, path: Path) -> str:
    """The command that does to the graph in ``path`` what failed."""
    later = {"schedule-and-plan": "plan", "lower-kernels": "lowered", "generate": "asm"}
    how = f"--passes none --emit {later[stage]}" if stage in later else f"--passes {stage} --verify"
    return f"mlc opt {how} {path}"
