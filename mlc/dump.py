"""One compilation's stages to numbered files, and these back: `mlc opt`, `mlc run` and `mlc bisect` read them.

``00-traced.graph`` and a graph after every pass, ``scheduled.kernels``, ``lowered.kernels``, the plan as text and in
its binary form (``plan.mlcp``), LLVM IR and assembly. Constants that the texts name by digest, and the plan's own as
``plan/NAME``, lie beside them in ``constants.safetensors``.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from .errors import ArtifactError, MlcError, ParseError
from .ir.graph import Graph
from .ir.graph.parser import parse_graph
from .ir.graph.text import print_graph, resources_of
from .ir.kernel import Kernel, parse_kernels
from .ir.plan import Plan, decode, encode

T = TypeVar("T")
Array = npt.NDArray[np.generic]
CONSTANTS = "constants.safetensors"
TRACED = "00-traced.graph"

_count = itertools.count()


class Dump:
    """Numbered files of one compilation, in a folder of its own below ``folder``; none where it is None."""

    def __init__(self, folder: Path | None, name: str) -> None:
        self.count = 0
        self.constants: dict[str, Array] = {}
        self.folder: Path | None = None
        if folder is not None:
            safe = re.sub(r"\W+", "_", name)
            self.folder = folder / f"{next(_count):03d}-{safe}"
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise MlcError(f"MLC_DUMP: cannot make {self.folder}: {error.strerror}") from error

    def graph(self, name: str, graph: Graph) -> None:
        if self.folder is not None:
            write_graph(self.folder / f"{self.count:02d}-{name}.graph", graph, self.constants)
        self.count += 1

    def plan(self, plan: Plan, constants: Sequence[Array]) -> None:
        """The plan, as text and as ``decode`` reads it."""
        if self.folder is not None:
            (self.folder / f"{self.count:02d}-plan.mlcp").write_bytes(encode(plan))
            named = zip(plan.constants, constants, strict=True)
            _keep(self.folder, self.constants, {f"plan/{c.name}": a for c, a in named})
        self.text("plan.txt", lambda: str(plan))

    def text(self, name: str, make: Callable[[], str]) -> None:
        if self.folder is not None:
            (self.folder / f"{self.count:02d}-{name}").write_text(make().rstrip("\n") + "\n", encoding="utf-8")
        self.count += 1


def write_graph(path: Path, graph: Graph, known: dict[str, Array] | None = None) -> None:
    """The text of ``graph`` with its locations, and what it names by digest beside it (``known``: what is there)."""
    path.write_text(print_graph(graph, locations=True), encoding="utf-8")
    _keep(path.parent, {} if known is None else known, resources_of(graph))


def _keep(folder: Path, known: dict[str, Array], found: Mapping[str, Array]) -> None:
    """Write the constants file again where ``found`` has new ones."""
    from .artifact.weights import Weight, write_safetensors

    if found.keys() - known.keys():
        known.update(found)
        with (folder / CONSTANTS).open("wb") as file:
            write_safetensors([Weight(n, np.asarray(a, order="C")) for n, a in known.items()], file)


# ---------------------------------------------------------------- reading


def read_graph(path: Path) -> Graph:
    """The graph that the text file holds, with the constants beside it.

    Raises ParseError that names file, line and column for anything else.
    """
    return located(path, lambda: parse_graph(read_text(path), _constants(path.parent)))


def read_kernels(path: Path) -> tuple[Kernel, ...]:
    """The kernels that the text file holds. Raises ParseError that names file and line for anything else."""
    return located(path, lambda: parse_kernels(read_text(path)))


def read_plan(path: Path) -> tuple[Plan, list[Any]]:
    """The plan in the file, text or binary (or in the only ``*-plan.mlcp`` of the folder), and its constants' arrays.

    Raises ParseError that names the file for anything else.
    """
    if path.is_dir():
        found = sorted(path.glob("*-plan.mlcp"))
        if len(found) != 1:
            raise ParseError(f"the folder {path} has {len(found)} files named *-plan.mlcp, not one",
                             hint="kernels run through the plan that MLC_DUMP writes beside them")  # fmt: skip
        path = found[0]
    if path.suffix == ".mlcp":
        plan = located(path, lambda: decode(path.read_bytes()))
    else:
        from .ir.plan.parse import parse_plan

        plan = located(path, lambda: parse_plan(read_text(path)))
    constants = _constants(path.parent)
    missing = [c.name for c in plan.constants if f"plan/{c.name}" not in constants]
    if missing:
        raise ParseError(f"{path.parent / CONSTANTS}: the constant {missing[0]} of the plan is missing")
    return plan, [constants[f"plan/{c.name}"] for c in plan.constants]


def read_donated(folder: Path) -> frozenset[int]:
    """The inputs that the plan dumped in ``folder`` donates; none where it was not planned."""
    inputs = [i for p in folder.glob("*-plan.mlcp") for i in enumerate(decode(p.read_bytes()).inputs)]
    return frozenset(i for i, value in inputs if value.donated_to is not None)


SUFFIXES = {".graph": "graph", ".kernels": "kernels", ".mlcp": "plan", ".ll": "llvm", ".s": "asm"}
_WORDS = {"graph": "graph", "kernel": "kernels", "plan": "plan", "target": "llvm"}


def kind_of(path: Path) -> str:
    """``graph``, ``kernels``, ``plan``, ``llvm`` or ``asm``: by the file's name, else by the first word of its text.

    Raises ParseError for another.
    """
    if path.suffix in SUFFIXES:
        return SUFFIXES[path.suffix]
    word = re.match(r"\s*(\w*)", read_text(path))
    if word is None or word[1] not in _WORDS:
        raise ParseError(f"{path}: the text begins as no stage does",
                         hint="stages are the numbered files that MLC_DUMP=FOLDER writes")  # fmt: skip
    return _WORDS[word[1]]


def located(path: Path, read: Callable[[], T]) -> T:
    """What ``read`` gives; its ParseError names the file."""
    try:
        return read()
    except ParseError as error:
        if str(path) not in error.message:
            error.location = f"{path}: {error.location}" if error.location else str(path)
        raise


def read_text(path: Path) -> str:
    """The text in the file. Raises ParseError for bytes that are none."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ParseError(f"{path} is not text: {error.reason} at byte {error.start}") from error


def _constants(folder: Path) -> dict[str, Any]:
    from .artifact.weights import read_all

    path = folder / CONSTANTS
    if not path.exists():
        return {}
    try:
        return read_all(memoryview(path.read_bytes()))
    except ArtifactError as error:
        raise ParseError(error.message, location=str(path)) from error
