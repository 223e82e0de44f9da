"""`mlc bench`: the times of an artifact's functions, of a dumped graph, or of what a program exports or compiles."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlc.cli.feeds import Leaf, by_name, leaves_of, leaves_of_graph, typical_sizes
from mlc.cli.output import print_json
from mlc.errors import Notice

if TYPE_CHECKING:
    from mlc.ir.graph import Graph
    from mlc.ir.plan import Plan


@dataclass(frozen=True)
class Subject:
    """A function to be measured. ``cost`` is what analyse_cost says, where the graph is known."""

    name: str
    target: str
    inputs: Sequence[Leaf]
    symbols: Sequence[tuple[str, int, int]]
    executable: Any
    plan: Plan
    graph: Graph | None = None


@click.command("bench", context_settings={"ignore_unknown_options": True})
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option("--function", "names", multiple=True, metavar="NAME", help="Only these functions.")
@click.option("--feed", "feeds", multiple=True, metavar="NAME=VALUE", help="An input: @file.npy, @file.npz or JSON.")
@click.option("--random", "seed", type=int, default=0, show_default=True, help="Seed of what is not fed.")
@click.option("--size", "sizes", multiple=True, metavar="NAME=N", help="A symbolic size of what is not fed.")
@click.option("--seconds", type=click.FloatRange(0), default=1.0, show_default=True, help="How long, each function.")
@click.option("--calls", type=click.IntRange(1), default=20, show_default=True, help="At least as many calls.")
@click.option("--warmup", type=click.IntRange(0), default=3, show_default=True, help="Calls before, not measured.")
@click.option("--threads", type=click.IntRange(1), help="How many threads.")
@click.option("--target", help="A target that this machine runs instead of the best.")
@click.option("--profile", is_flag=True, help="Measure every step of the plan too, in calls of their own.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; times are seconds.")
def command(
    path: Path,
    arguments: tuple[str, ...],
    names: tuple[str, ...],
    feeds: tuple[str, ...],
    seed: int,
    sizes: tuple[str, ...],
    seconds: float,
    calls: int,
    warmup: int,
    threads: int | None,
    target: str | None,
    profile: bool,
    as_json: bool,
) -> int:
    """Measure calls of the functions of PATH, on random inputs where none are fed: least time, percentiles, throughput.

    PATH is an artifact (.mlc), a graph as MLC_DUMP writes it, or a program, which is run with its ARGUMENTS first: its
    exported functions are measured, or where it exports none, all that it compiles.
    """
    from mlc.runtime import num_threads, set_num_threads
    from mlc.timing import measure

    subjects, status = _subjects(path, arguments, target, as_json)
    if status:
        return status
    subjects = _chosen(subjects, names)
    if threads is not None:
        set_num_threads(threads)
    reports = []
    for s in subjects:
        values = typical_sizes(s.symbols, sizes)
        leaves = leaves_of(s.inputs, by_name(feeds, "--feed"), seed, values)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Notice)  # every call gives the same arrays: donated ones are copied
            timing = measure(partial(s.executable, leaves), seconds=seconds, calls=calls, warmup=warmup)
        report = {"function": s.name, "target": s.target, "threads": num_threads(), "sizes": values, **timing.as_dict()}
        if s.graph is not None:
            from mlc.analysis import analyse_cost

            report["flops"] = analyse_cost(s.graph, values)["flops"]
        steps = _profile(s, leaves, min(timing.calls, 200)) if profile else None
        if as_json:
            reports.append(report if steps is None else {**report, "steps": [_step(x) for x in steps.steps]})
        else:
            _print(report)
            if steps is not None:
                click.echo("\n".join("  " + line for line in str(steps).splitlines()[1:]))
    if as_json:
        print_json(reports)
    return 0


def _subjects(path: Path, arguments: tuple[str, ...], target: str | None, quiet: bool) -> tuple[list[Subject], int]:
    """What is to be measured, and the exit code of the program where it failed."""
    if path.suffix == ".graph":
        from mlc.dump import read_graph

        return [_of_graph(path.stem, read_graph(path), target)], 0
    if path.suffix == ".py":
        return _of_program(path, arguments, target, quiet)
    from mlc.artifact.loading import open_artifact

    functions = open_artifact(path, target=target).functions
    return [Subject(n, f.target, f.inputs, f.symbols, f.executable, f.plan) for n, f in functions.items()], 0


def _of_program(path: Path, arguments: tuple[str, ...], target: str | None, quiet: bool) -> tuple[list[Subject], int]:
    from mlc.cli.program import compiled_by

    status, compiled, exported = compiled_by(path, arguments, quiet)
    if status:
        return [], status
    return [_of_graph(c.name, c.graph, target) for c in exported or compiled], 0


def _of_graph(name: str, graph: Graph, target: str | None) -> Subject:
    from dataclasses import replace

    from mlc.compiler import Options, compile_function, link, named_target

    options = replace(Options.from_environment(), dump=None)
    if target is not None:
        options = replace(options, target=named_target(target))
    compiled = compile_function(graph, options)
    symbols = [(s.name, s.lower, s.upper) for s in graph.symbols]
    return Subject(
        name, options.target.name, leaves_of_graph(graph), symbols, link(compiled), compiled.plan, graph
    )  # fmt: skip


def _chosen(subjects: list[Subject], names: tuple[str, ...]) -> list[Subject]:
    there = [s.name for s in subjects]
    for name in names:
        if name not in there:
            raise click.UsageError(f"no function {name!r}; there are {', '.join(there)}")
    return [s for s in subjects if not names or s.name in names]


def _profile(subject: Subject, leaves: list[Any], calls: int) -> Any:
    from mlc.profile import Profile

    profile = Profile(subject.plan)
    subject.executable.start_profile()
    for _ in range(calls):
        subject.executable(leaves)
    profile.calls, times = subject.executable.stop_profile()
    profile.record(times)
    return profile


def _step(s: Any) -> dict[str, Any]:
    return {"kernel": s.kernel, "label": s.label, "min": s.least, "mean": s.mean}


def _print(report: dict[str, Any]) -> None:
    at = "".join(f", {name}={n}" for name, n in report["sizes"].items())
    threads = f"{report['threads']} thread{'s' * (report['threads'] != 1)}"
    click.echo(f"{report['function']} on {report['target']}, {threads}{at}: {report['calls']} calls")
    times = "  ".join(f"{word} {_human(report[word])}" for word in ("min", "p50", "p90", "p99", "mean"))
    rate = f"  {report['flops'] / report['min'] / 1e9:.1f} GFLOP/s" if report.get("flops") else ""
    click.echo(f"  {times}  {report['throughput']:.0f} calls/s{rate}")


def _human(seconds: float) -> str:
    """
    >>> _human(1.5e-6), _human(0.0123), _human(2)
    ('1.50 us', '12.30 ms', '2.00 s')
    """
    if seconds < 1e-3:
        return f"{seconds * 1e6:.2f} us"
    return f"{seconds * 1e3:.2f} ms" if seconds < 1 else f"{seconds:.2f} s"
