"""What the benchmark measures, part by part: each gives a report of numbers, times in seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlc.errors import TargetError
from mlc.launch.launchers import LIBRARIES, find

from . import hosts, matmul

ROOT = Path(__file__).resolve().parents[2]
AGREE = 1e-3  # relative, of losses

Report = dict[str, Any]


class ColumnError(Exception):
    """A column's process failed; the message ends with what it printed."""


def measure_step(step: str, columns: Mapping[str, str], rounds: int, seconds: float) -> Report:
    """By column: the least of each time over rounds in which the columns take turns, and the losses.

    ``columns`` names the Python of each. Raises ColumnError where one fails.
    """
    found: Report = {}
    for _ in range(rounds):
        for name, python in columns.items():
            new = run_column(python, f"with_{name}", step, str(seconds))
            old = found.get(name, new)
            found[name] = {k: v if k == "losses" else min(v, old[k]) for k, v in new.items()}
    return found


def losses_agree(columns: Report) -> bool:
    """Whether all columns of a step have the losses that mlc has: they do the same work."""
    mine = columns["mlc"]["losses"]
    return all(abs(a - b) <= AGREE * abs(a) for c in columns.values() for a, b in zip(mine, c["losses"], strict=True))


def measure_warm_start(step: str, rounds: int) -> Report:
    """From the imports to the first result of a step: ``cold``, and in processes that find it in the cache ``warm``."""
    with tempfile.TemporaryDirectory(prefix="mlc-bench-") as cache:
        runs = [run_column(sys.executable, "with_mlc", step, "0", env={"MLC_CACHE": cache}) for _ in range(rounds + 1)]
    cold, *warm = runs
    return {
        "step": step,
        "cold": cold["build"],
        "warm": min(r["build"] for r in warm),
        "warm processor": min(r["build_cpu"] for r in warm),
    }


def measure_calls(seconds: float) -> Report:
    """``dispatch`` of a + b on four floats, and by model and size the time of symbolic over that of exact sizes."""
    return run_column(sys.executable, "calls", str(seconds))


def measure_matmul(squares: Sequence[int], count: int) -> Report:
    """Shares of the multiply-add peak of the same run: of squares, and of ``count`` random products."""
    found: Report = {}
    if squares:
        measured = matmul.measure([(n, n, n) for n in squares])
        found["squares"] = {"peak": measured.peak, "shares": {str(n): measured.share((n, n, n)) for n in squares}}
    if count:
        measured = matmul.measure(matmul.random_shapes(count))
        worst = min(measured.shapes, key=measured.share)
        found["random"] = {
            "peak": measured.peak,
            "count": len(measured.shapes),
            "geometric mean": measured.mean_share(),
            "worst": measured.share(worst),
            "worst shape": list(worst),
        }
    return found


def measure_collectives(sizes: Sequence[int], rounds: int) -> Report:
    """By MPI that is here and by bytes: an all-reduce of two ranks, ``raw`` by the library and as a program's ``step``.

    Raises ColumnError where one fails.
    """
    found: Report = {}
    for name in LIBRARIES:
        try:
            mpi = find(name)
        except TargetError as error:
            print(f"without {name}: {error}", file=sys.stderr)
            continue
        column = [sys.executable, "-m", "tests.bench.columns.collectives"]
        with tempfile.TemporaryDirectory(prefix="mlc-bench-") as folder:
            words = [*column, ",".join(map(str, sizes)), str(rounds)]
            found[name] = _run(mpi.command(2, words, Path(folder), ()), {"PYTHONPATH": str(ROOT), **mpi.environment})
    return found


def measure_overlap(size: int, rounds: int) -> Report:
    """Times of an all-reduce over 1 Gbit/s and of products that take as long, alone and together; the share ``hidden``.

    Empty where there is no MPICH or namespaces are denied. Raises ColumnError where it fails.
    """
    try:
        mpi = find("mpich")
        with hosts.two_hosts("1gbit") as enter, tempfile.TemporaryDirectory(prefix="mlc-bench-") as folder:
            column = [*enter, sys.executable, "-m", "tests.bench.columns.overlap", str(size), str(8 * rounds)]
            variables = {"PYTHONPATH": str(ROOT), **mpi.environment, **hosts.environment()}
            found = _run(mpi.command(2, column, Path(folder), ()), variables)
    except (TargetError, hosts.Denied) as error:
        print(f"without overlap: {error}", file=sys.stderr)
        return {}
    shorter = min(found["communication"], found["compute"])
    found["hidden"] = (found["communication"] + found["compute"] - found["both"]) / shorter
    return {"bytes": size, **found}


def run_column(python: str, column: str, *words: str, env: Mapping[str, str] | None = None) -> Report:
    """What a module of ``columns`` prints, in a process of its own on one thread. Raises ColumnError where it fails."""
    command = [python, "-m", f"tests.bench.columns.{column}", *words]
    return _run(command, env or {})


def _run(command: Sequence[str], env: Mapping[str, str]) -> Report:
    """The last line that a command prints."""
    settings = {"MLC_CACHE": "0", "MLC_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", **env}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, **settings})
    if done.returncode:
        raise ColumnError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    found: Report = json.loads(done.stdout.splitlines()[-1])
    return found
