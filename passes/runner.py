"""Run a declared pipeline of passes: verify after each, time, skip, and let an observer see every graph."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from mlc.errors import ArgumentError, InternalError, MlcError
from mlc.ir.device import Machine
from mlc.ir.graph import Graph, Node
from mlc.ir.graph.verify import verify_graph
from mlc.ir.target import TARGETS, Target

from .collectives import combine_all_reduces, split_collectives
from .constant_layout import lay_out_constants
from .decompose import decompose
from .fuse import fuse
from .layout import sink_reshapes
from .loops import rotate, tighten
from .merge_loops import merge_loops
from .partition import partition
from .place import Refusal, place
from .regions import run_inside
from .simplify import simplify
from .sparse import update_rows


@dataclass(frozen=True, slots=True)
class Pass:
    """A named function from graph to graph, run on the regions of control flow too where it goes ``inside``.

    ``required`` passes cannot be skipped: what follows needs their form.
    """

    name: str
    run: Callable[[Graph], Graph]
    required: bool = False
    inside: bool = True

    def __call__(self, graph: Graph) -> Graph:
        return run_inside(self.run, graph) if self.inside else self.run(graph)


CPU_PIPELINE: tuple[Pass, ...] = (
    Pass("merge-loops", merge_loops),
    Pass("simplify", simplify),
    Pass("decompose", decompose, required=True),
    Pass("partition", partition, required=True),
    Pass("layout", sink_reshapes),
    Pass("update-rows", update_rows),
    Pass("simplify-decomposed", simplify),
    Pass("layout-constants", lay_out_constants),
    Pass("tighten-loops", tighten),
    Pass("rotate-loops", rotate, required=True),
    Pass("place", place, required=True, inside=False),
    Pass("combine-collectives", combine_all_reduces),
    Pass("split-collectives", split_collectives, required=True),
    Pass("fuse", fuse, required=True),
)

PIPELINES: dict[str, tuple[Pass, ...]] = dict.fromkeys(TARGETS, CPU_PIPELINE)
"""The graph passes of every target, by its name, in their order."""

Observer = Callable[[str, Graph], None]


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a pass took, in seconds, and how many nodes it left."""

    name: str
    seconds: float
    nodes: int


def on_machine(
    pipeline: Sequence[Pass], machine: Machine, home: str | None = None, refused: frozenset[Refusal] = frozenset()
) -> tuple[Pass, ...]:
    """The pipeline with its nodes placed on the devices of ``machine``, as ``place`` says."""
    placing = partial(place, machine=machine, home=home, refused=refused)
    return tuple(replace(p, run=placing) if p.run is place else p for p in pipeline)


def named_passes(names: Sequence[str], target: Target) -> tuple[Pass, ...]:
    """The passes of ``target``'s pipeline with these names, in the order of ``names``. ArgumentError for others."""
    known = {p.name: p for p in PIPELINES[target.name]}
    unknown = [n for n in names if n not in known]
    if unknown:
        raise ArgumentError(f"{target.name} has no pass {unknown[0]!r}", hint=f"its passes are {', '.join(known)}")
    return tuple(known[n] for n in names)


def run_passes(
    graph: Graph,
    pipeline: Sequence[Pass] = CPU_PIPELINE,
    *,
    verify: bool = False,
    skip: frozenset[str] = frozenset(),
    observe: Observer | None = None,
) -> tuple[Graph, list[Timing]]:
    """The graph after every pass of ``pipeline`` that is not skipped, and how long each took.

    Raises InternalError that names the pass as its ``stage`` and holds the graph before it, where a pass fails or
    leaves a graph that does not verify; errors of the user's program (MlcError) pass through.
    """
    timings = []
    proven: set[Node] = set()  # what a verification found right need not be looked at again: nodes do not change
    for p in pipeline:
        if p.name in skip and not p.required:
            continue
        begin = time.perf_counter()
        before = graph
        try:
            graph = p(graph)
        except MlcError:
            raise
        except Exception as error:
            raise InternalError(f"pass {p.name} failed: {error!r}", before, p.name) from error
        timings.append(Timing(p.name, time.perf_counter() - begin, len(graph.nodes)))
        if verify and graph is not before:
            if graph.symbols != before.symbols:
                proven = set()
            _verify(p, before, graph, proven)
        if observe is not None:
            observe(p.name, graph)
    return graph, timings


def _verify(p: Pass, before: Graph, after: Graph, proven: set[Node]) -> None:
    try:
        verify_graph(after, proven=proven)
    except MlcError as error:
        message = f"pass {p.name} left a graph that does not verify: {error}"
        raise InternalError(message, before, p.name) from error
