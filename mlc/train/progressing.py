"""A progress bar over the steps of a training, one for all ranks of a job."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
SELDOM = 0.1  # seconds between two reports


def progress(items: Iterable[T], total: int | None = None, *, done: int = 0) -> Iterator[T]:
    """The ``items``, and a bar that shows how many of ``total`` were used; ``done`` of them before this process began.

    The bar is on standard error where that is a terminal. Under ``mlc launch`` it is the launcher's, and shows the
    steps of rank 0.

    Example:
        >>> sum(progress([1, 2, 3], total=3))
        6
    """
    with _reporting(total, done) as report:
        last = 0.0
        for item in items:
            yield item
            done += 1
            if report and (time.monotonic() - last > SELDOM or done == total):
                report(done)
                last = time.monotonic()


@contextlib.contextmanager
def _reporting(total: int | None, begun: int) -> Iterator[Callable[[int], None] | None]:
    """What takes the number of steps done; None where nobody looks."""
    folder = os.environ.get("MLC_RUN_FOLDER")
    if folder:
        yield (lambda done: _write(Path(folder), done, total)) if os.environ.get("MLC_RANK") == "0" else None
        return
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total, completed=begun)
        yield lambda done: bar.update(task, completed=done, refresh=True)


def _write(folder: Path, done: int, total: int | None) -> None:
    """For the launcher: steps done, all steps or 0, and words beside the bar."""
    with contextlib.suppress(OSError):
        written = folder / ".progress"
        written.write_text(f"{done} {total or 0} ", encoding="utf-8")
        written.replace(folder / "progress")
