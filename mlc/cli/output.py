"""What the verbs print: JSON for programs, plain aligned text for people, progress on a terminal only."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

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
    click.echo(json.dumps(value, indent=2))


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
def progress(quiet: bool = False) -> Iterator[Report]:
    """A spinner with the current step on standard error where that is a terminal; nothing elsewhere."""
    if quiet or not sys.stderr.isatty():
        yield lambda step: None
        return
    from rich.console import Console

    with Console(stderr=True).status("starting") as status:
        yield status.update
