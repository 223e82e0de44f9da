"""What the ranks print, line by line behind their rank, and one progress bar for all of them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from .rank import MARK

LONGEST = 1 << 20  # characters that wait for the end of their line
KEPT = 100  # lines of the launcher's own
Bar = Callable[[int, int, str], None]  # takes steps done, all steps, what is said beside the bar


class Output:
    """Takes a launcher's two outputs as they come, and writes whole lines to this process's."""

    def __init__(self, ranks: int) -> None:
        self.launcher: list[str] = []  # what the launcher itself said last
        self._width = len(str(ranks - 1))
        self._rest = {"o": b"", "e": b""}
        self._parts: dict[tuple[int, str], str] = {}

    def take(self, kind: str, data: bytes) -> None:
        """The bytes ``data`` of the launcher's standard output (kind o) or error (e)."""
        *lines, self._rest[kind] = (self._rest[kind] + data).split(b"\n")
        for line in lines:
            self._line(line)

    def end(self) -> None:
        """No more comes: what did not end in a line is one."""
        for kind, rest in self._rest.items():
            if rest:
                self._line(rest)
            self._rest[kind] = b""
        for (rank, kind), text in self._parts.items():
            self._print(rank, kind, text)
        self._parts.clear()

    def _line(self, line: bytes) -> None:
        before, mark, frame = line.partition(MARK)
        words = frame.split(b" ", 2)
        if not mark or len(words) != 3 or not words[0].isdigit():
            self.launcher = [*self.launcher, line.decode(errors="replace")][-KEPT:]
            return
        if before:
            self.launcher = [*self.launcher, before.decode(errors="replace")][-KEPT:]
        rank, kind = int(words[0]), words[1].decode(errors="replace")
        key = (rank, kind.lower())
        text = self._parts.pop(key, "") + words[2].decode(errors="replace")
        if kind.isupper() and len(text) < LONGEST:
            self._parts[key] = text
        else:
            self._print(rank, kind.lower(), text)

    def _print(self, rank: int, kind: str, text: str) -> None:
        stream = sys.stderr if kind == "e" else sys.stdout
        line = f"[{rank:{self._width}}] {text}"
        try:
            print(line, file=stream, flush=True)
        except UnicodeEncodeError:  # the ranks' encoding is not that of this terminal
            print(line.encode(stream.encoding, "replace").decode(stream.encoding), file=stream, flush=True)


@contextlib.contextmanager
def progress_bar() -> Iterator[Bar | None]:
    """One bar below the lines where standard error is a terminal; None elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, visible=False)
        yield lambda done, total, text: bar.update(
            task, completed=done, total=total or None, description=text, visible=True, refresh=True
        )


def read_progress(folder: Path) -> tuple[int, int, str] | None:
    """What rank 0 wrote of its progress last: steps done, all steps or 0, and what is said beside the bar."""
    try:
        done, total, text = (folder / "progress").read_text(encoding="utf-8").split(" ", 2)
        return int(done), int(total), text
    except (OSError, ValueError):
        return None
