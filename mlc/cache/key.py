"""What a compiled program was made from, part by part: equal parts give equal code."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np

from mlc.ir.device import Machine
from mlc.ir.graph import Graph
from mlc.options import Options

from .folder import Folder


@dataclass(frozen=True, slots=True)
class Parts:
    """Digests and words; ``words()`` of the first that differs says why a program is compiled anew."""

    compiler: str
    libraries: str
    target: str
    flags: str
    names: str
    program: str

    @property
    def key(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def difference(self, before: Parts) -> str:
        """Why code for ``before`` is not code for this; "" where it is."""
        words = {
            "compiler": "mlc itself changed",
            "libraries": f"versions changed: {before.libraries}, now {self.libraries}",
            "target": "the target changed",
            "flags": f"flags changed: {before.flags}, now {self.flags}",
            "names": "names of arguments or results, or what is donated, changed",
            "program": "its operations, shapes or constants changed",
        }
        return next((text for name, text in words.items() if getattr(self, name) != getattr(before, name)), "")


def parts_of(
    graph: Graph, options: Options, result_names: Sequence[str], donated: frozenset[int], folder: Folder
) -> Parts:
    """The parts for ``graph``. Locations are none: the same program elsewhere is the same code."""
    names = graph.name, [p["name"] for p in graph.parameters], list(result_names), sorted(donated)
    return Parts(
        compiler=_compiler_digest(folder),
        libraries=_libraries(),
        target=repr(options.target),
        flags=f"MLC_SKIP={','.join(sorted(options.skip))} MLC_LLVM_OPT={options.llvm_opt}"
        + ("" if options.machine == Machine() else f" MLC_DEVICES={options.machine}")
        + (f" home={options.home}" if options.home else ""),
        names=json.dumps(names),
        program=graph.fingerprint,
    )


@cache
def _libraries() -> str:
    """Versions of what decides on code beside mlc: LLVM's, read without importing it, and NumPy's, which folds."""
    found = importlib.util.find_spec("llvmlite")
    places = list(found.submodule_search_locations or []) if found else []
    digest = hashlib.sha256()
    for place in places:
        digest.update((Path(place) / "_version.py").read_bytes())
    return f"llvmlite {digest.hexdigest()[:12]}, numpy {np.__version__}"


_digests: dict[tuple[str, ...], str] = {}


def _compiler_digest(folder: Folder) -> str:
    """A digest of the compiler's sources; the folder remembers it by their sizes, times and inodes.

    It is taken once: this process goes on with the compiler that it began with, whatever becomes of the files.
    """
    files = _sources()
    if files not in _digests:
        stamp = tuple([(path, *_stamp(path)) for path in files])
        name = "compiler-" + hashlib.sha256(repr(stamp).encode()).hexdigest()
        known = folder.get(name)
        if known is None:
            digest = hashlib.sha256()
            for path in files:
                digest.update(hashlib.sha256(Path(path).read_bytes()).digest())
            known = digest.hexdigest().encode()
            folder.put(name, known)
        _digests[files] = known.decode()
    return _digests[files]


def _stamp(path: str) -> tuple[int, int, int, int]:
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


@cache
def _sources() -> tuple[str, ...]:
    """The files that turn a graph into code, sorted by module."""
    found = []
    for name in ("mlc.ir", "mlc.passes", "mlc.codegen"):
        spec = importlib.util.find_spec(name)
        for place in spec.submodule_search_locations or [] if spec else []:
            for folder, _, files in os.walk(place):
                found += [os.path.join(folder, file) for file in files if file.endswith(".py")]
    spec = importlib.util.find_spec("mlc.compiler")
    return tuple(sorted(found)) + ((spec.origin,) if spec and spec.origin else ())
