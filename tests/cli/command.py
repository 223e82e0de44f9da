"""The ``mlc`` command: in this process, so that many are tried in little time, or in one of its own."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from mlc.cli import main


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def mlc(*words: str | Path, cwd: Path | None = None) -> Done:
    """What ``mlc words...`` prints in the folder ``cwd``, where it is not None, and its exit code."""
    out, err, before = io.StringIO(), io.StringIO(), Path.cwd()
    os.chdir(cwd or before)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), patch("os._exit", sys.exit):
            main([*map(str, words)])
    except SystemExit as ended:
        code = ended.code
    finally:
        os.chdir(before)
    return Done(int(code or 0), out.getvalue(), err.getvalue())


def process(*words: str | Path, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """The same as users run it, with these variables besides."""
    command = [sys.executable, "-m", "mlc", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env={**os.environ, **env})
