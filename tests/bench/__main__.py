"""The project's own small benchmark, on one thread: ``python -m tests.bench``.

    python -m tests.bench [--only PARTS] [--quick] [--json FILE] [--jax PYTHON] [--torch PYTHON]

``steps``: the training steps T1 to T3 and the time to compile each, beside the peers whose Python is named (or is in
``MLC_BENCH_JAX``, ``MLC_BENCH_TORCH``; a peer without one is left out by name). ``warm``: a start from the cache on
disk. ``calls``: dispatch of a small call, and symbolic against exact sizes. ``matmul``: f32 products, launched from C,
against the multiply-add peak of the same run. ``collectives``: all-reduces of two ranks as a program's step, against
the same library's own calls, for each MPI that is here. ``overlap``: how much of the shorter of an all-reduce over
1 Gbit/s and of products is hidden behind the other. Columns run in turns, each in a process of its own, and the least
time counts; their losses have to agree, else the exit code is 4.

With ``--device gpu``, ``docs/gpu-results.md`` is written instead: operations, steps and a trained model on gpu:0,
beside torch's.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from mlc.errors import TargetError

from . import parts, tables
from .columns.common import TITLES

PARTS = ("steps", "warm", "calls", "matmul", "collectives", "overlap")
PEERS = ("jax", "torch")
SQUARES = (64, 96, 128, 192, 256, 320, 384, 448, 512)
BYTES = tuple(1 << n for n in range(10, 27, 2))
FULL = {"seconds": 3.0, "rounds": 3, "squares": SQUARES, "random": 200, "bytes": BYTES}
QUICK = {"seconds": 0.1, "rounds": 1, "squares": (64, 128), "random": 5, "bytes": BYTES[:2]}
OVERLAP_BYTES = (16 << 20, 1 << 20)  # of gradients; --quick
FAILED, MISMATCH, UNAVAILABLE = 1, 4, 5  # exit codes, as those of mlc


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    for name, value in (QUICK if options.quick else FULL).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    if options.json is not None and not options.json.parent.is_dir():
        parser.error(f"--json: the folder {options.json.parent} does not exist")
    if options.device == "gpu":
        return _on_gpu(options)
    try:
        report = _measure(options, _pythons(options, parser))
    except parts.ColumnError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0 if all(parts.losses_agree(s) for s in report.get("steps", {}).values()) else MISMATCH


def _on_gpu(options: argparse.Namespace) -> int:
    """Measure gpu:0 and write the page about it."""
    from . import gpu

    torch = options.torch or os.environ.get("MLC_BENCH_TORCH")
    size, steps = ("quick", options.steps[:1]) if options.quick else ("full", options.steps)
    try:
        report = gpu.measure_gpu(steps, size, options.seconds, torch, model=not options.quick)
    except TargetError as error:
        print(f"error: {error}", file=sys.stderr)
        return UNAVAILABLE
    except parts.ColumnError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    gpu.write(report, options.page or gpu.PAGE)
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    names = [n for n in ("mlc", "torch") if n in report]
    return 0 if all(parts.losses_agree({n: report[n]["steps"][s] for n in names}) for s in steps) else MISMATCH


def _measure(options: argparse.Namespace, columns: dict[str, str]) -> parts.Report:
    """What was measured, by part; each is printed as soon as it is known."""
    report: parts.Report = {}
    if "steps" in options.only:
        report["steps"] = {s: parts.measure_step(s, columns, options.rounds, options.seconds) for s in options.steps}
        tables.print_steps(report["steps"])
    if "warm" in options.only:
        report["warm"] = parts.measure_warm_start("T2", options.rounds)
        tables.print_warm(report["warm"])
    if "calls" in options.only:
        report["calls"] = parts.measure_calls(options.seconds)
        tables.print_calls(report["calls"])
    if "matmul" in options.only:
        report["matmul"] = parts.measure_matmul(options.squares, options.random)
        tables.print_matmul(report["matmul"])
    if "collectives" in options.only:
        report["collectives"] = parts.measure_collectives(options.bytes, options.rounds)
        tables.print_collectives(report["collectives"])
    if "overlap" in options.only:
        report["overlap"] = parts.measure_overlap(OVERLAP_BYTES[options.quick], options.rounds)
        tables.print_overlap(report["overlap"])
    return report


def _pythons(options: argparse.Namespace, parser: argparse.ArgumentParser) -> dict[str, str]:
    """The Python of each column: a peer's is named by its option, else by the environment, else it is left out."""
    found = {"mlc": sys.executable}
    for name in PEERS if "steps" in options.only else ():
        variable = f"MLC_BENCH_{name.upper()}"
        python = getattr(options, name) or os.environ.get(variable)
        if not python:
            print(f"without {name}: --{name} PYTHON or {variable} would name a Python that has it", file=sys.stderr)
        elif shutil.which(python) is None:
            parser.error(f"{name}: there is no Python {python}")
        else:
            found[name] = python
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", type=_some_of(PARTS), default=PARTS, metavar="PARTS", help="of " + ",".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="one short round of few shapes: a check, no measurement")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured; times are seconds")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--page", type=Path, metavar="FILE", help="of --device gpu (default: docs/gpu-results.md)")
    for name in PEERS:
        parser.add_argument(f"--{name}", metavar="PYTHON", help=f"a Python that has {name}")
    steps = tuple(TITLES)
    parser.add_argument("--steps", type=_some_of(steps), default=steps, metavar="STEPS", help="of " + ",".join(steps))
    parser.add_argument("--squares", type=_sides, metavar="N,N,...", help="sides of square products")
    parser.add_argument("--bytes", type=_sides, metavar="N,N,...", help="sizes of all-reduces, multiples of 4")
    parser.add_argument("--random", type=int, metavar="COUNT", help="random products, M, K, N in 1..600")
    parser.add_argument("--seconds", type=float, help="of a measurement in each round")
    parser.add_argument("--rounds", type=int, choices=range(1, 101), metavar="N", help="in which columns take turns")
    return parser


def _some_of(there: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    def chosen(words: str) -> tuple[str, ...]:
        names = words.split(",")
        for name in names:
            if name not in there:
                raise argparse.ArgumentTypeError(f"there is no {name!r}; there are {', '.join(there)}")
        return tuple(n for n in there if n in names)

    return chosen


def _sides(words: str) -> tuple[int, ...]:
    sides = tuple(int(w) for w in words.split(",") if w)
    if any(n < 1 for n in sides):
        raise argparse.ArgumentTypeError("a side or size is at least 1")
    return sides


if __name__ == "__main__":
    sys.exit(main())
