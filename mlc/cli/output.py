"""What the verbs print: JSON for programs, plain aligned text for people, progress on a terminal only."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import click

Report = Callable[[str], None]  # takes one line that says what is being done now


def version() -> str:
    """The version of the mlc that runs."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("mlc")
    except PackageNotFoundError:
        return "0+unknown"


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(value, indent=2, allow_nan=False))


def check_writable(path: Path) -> None:
    """UsageError where no file can be put at `path`; asked before the work, so that none is lost."""
    if not path.parent.is_dir():
        raise click.UsageError(f"the folder {path.parent} does not exist")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise click.UsageError(f"the folder {path.parent} cannot be written to")


def print_pairs(pairs: Mapping[str, object] | Sequence[tuple[str, object]], indent: str = "") -> None:
    """`name  value` lines with the values aligned."""
    items = list(pairs.items()) if isinstance(pairs, Mapping) else list(pairs)
    width = max((len(name) for name, _ in items), default=0)
    for name, value in items:
        click.echo(f"{indent}{name:<{width}}  {value}")


def human_bytes(n: int) -> str:
    """`n` bytes in the largest unit that keeps it above one.

    >>> human_bytes(999), human_bytes(2_130_000)
    ('999 B', '2.1 MB')
    """
    value, unit = float(n), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{n} B" if unit == "B" else f"{value:.1f} {unit}"


@contextlib.contextmanager
def progress(steps: int, quiet: bool = False) -> Iterator[Report]:
    """A bar over ``steps`` steps on standard error where that is a terminal; nothing elsewhere.

    Each report names the step that begins.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda step: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=steps)
        begun = itertools.count()
        yield lambda step: bar.update(task, completed=next(begun), description=step)
        bar.update(task, completed=steps)
