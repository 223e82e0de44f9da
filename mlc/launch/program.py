"""Runs a program as one of N: as `mlc run` does, but that the program's own exit code is this process's."""

from __future__ import annotations

import atexit
import sys
from collections.abc import Sequence
from pathlib import Path

from mlc.cli.program import execute, guarded


def main(path: Path, arguments: Sequence[str]) -> int:
    """Run the file at ``path``; its exit code, or that of what it raised."""
    status, code = guarded(lambda: _exit_code(path, arguments))
    if status or code:
        _forsake_the_world()
    return status or code or 0


def _forsake_the_world() -> None:
    """Leaving it in order would wait for the other ranks, which may be waiting for what this one no longer does."""
    if "mlc.distributed" in sys.modules:
        from mlc import distributed

        atexit.unregister(distributed.finalize)


def _exit_code(path: Path, arguments: Sequence[str]) -> int:
    try:
        execute(path, arguments)
    except SystemExit as stop:
        if isinstance(stop.code, int):
            return stop.code & 0xFF
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
