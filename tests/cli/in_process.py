"""The ``mlc`` command without a process of its own, for tests of many short ones."""

from __future__ import annotations

import contextlib
import io
import os
from dataclasses import dataclass
from pathlib import Path

from mlc.cli import main


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def mlc(*words: str | Path, cwd: Path) -> Done:
    """What the command line ``mlc words...`` prints in the folder ``cwd``, and its exit code."""
    out, err, before = io.StringIO(), io.StringIO(), Path.cwd()
    os.chdir(cwd)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main([*map(str, words)])
    except SystemExit as ended:
        code = ended.code
    finally:
        os.chdir(before)
    return Done(int(code or 0), out.getvalue(), err.getvalue())
