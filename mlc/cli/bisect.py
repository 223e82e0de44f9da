"""`mlc bisect`: the first wrong step of the compiler, for a graph or for all that a program compiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlc.cli.output import print_json
from mlc.cli.program import Compiled, compiled_by

if TYPE_CHECKING:
    from mlc.bisect import Finding
    from mlc.ir.graph import Graph

MISMATCH = 4


@click.command("bisect", context_settings={"ignore_unknown_options": True})
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option("--feed", "feeds", multiple=True, metavar="NAME=VALUE", help="An input of a graph: @file.npy or JSON.")
@click.option("--reference", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="A .npz of right results (out0, out1, ...) instead of the evaluator's.")  # fmt: skip
@click.option("--random", "seed", type=int, default=0, show_default=True, help="Seed of what is not fed.")
@click.option("--trials", type=click.IntRange(1), default=1, show_default=True, help="How many seeds to try.")
@click.option("--size", "sizes", multiple=True, metavar="NAME=N", help="A symbolic size of what is not fed.")
@click.option("--target", help="A target that this machine runs instead of the best.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    path: Path,
    arguments: tuple[str, ...],
    feeds: tuple[str, ...],
    reference: Path | None,
    seed: int,
    trials: int,
    sizes: tuple[str, ...],
    target: str | None,
    as_json: bool,
) -> int:
    """Compare what PATH computes after every step of the compiler with the evaluator, and name the first that is wrong.

    PATH is a graph as MLC_DUMP writes it, or a Python program, of which all that it compiles or exports is tried.

    Exits with 4 where a step is wrong, with 0 where none is.
    """
    if path.suffix not in (".graph", ".py"):
        raise click.UsageError(f"{path} is neither a graph (.graph) nor a program (.py)")
    if path.suffix != ".graph" and (feeds or reference or sizes):
        raise click.UsageError("--feed, --reference and --size go with a graph")
    from mlc.bisect import bisect
    from mlc.compiler import Options, named_target
    from mlc.dump import read_graph

    options = replace(Options.from_environment(), dump=None)
    if target is not None:
        options = replace(options, target=named_target(target))
    if path.suffix == ".graph":
        graph = read_graph(path)
        tried = [Compiled(graph.name, graph, frozenset())]
    else:
        status, compiled, exported = compiled_by(path, arguments, as_json)
        seen = {c.graph.fingerprint for c in compiled}
        tried = [*compiled, *(e for e in exported if e.graph.fingerprint not in seen)]
        if status and not tried:
            return status
    found: list[tuple[str, Finding | None]] = []
    for name, graph, donated in tried:
        finding = None
        for trial in range(trials):
            arrays = _arrays(graph, feeds, seed + trial, sizes)
            right = _reference(reference, len(graph.results))
            finding = bisect(graph, arrays, options, reference=right, donated=donated)
            if finding is not None:
                break
        found.append((name, finding))
        if not as_json:
            click.echo(f"{name}: " + ("every step is right" if finding is None else str(finding)))
    if as_json:
        print_json([{"graph": name, "finding": None if f is None else vars(f)} for name, f in found])
    return MISMATCH if any(f is not None for _, f in found) else 0


def _arrays(graph: Graph, feeds: tuple[str, ...], seed: int, sizes: tuple[str, ...]) -> list[Any]:
    from mlc.cli.feeds import by_name, leaves_of, leaves_of_graph, typical_sizes

    symbols = typical_sizes([(s.name, s.lower, s.upper) for s in graph.symbols], sizes)
    return leaves_of(leaves_of_graph(graph), by_name(feeds, "--feed"), seed, symbols)


def _reference(path: Path | None, count: int) -> Sequence[Any] | None:
    if path is None:
        return None
    from mlc.cli.feeds import value_of

    return [value_of(f"@{path}", f"out{i}") for i in range(count)]
