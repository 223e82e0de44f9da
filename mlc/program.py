"""A graph as it runs in this process: loaded from the cache on disk, else compiled and put there."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .array import Array
from .cache import Entry, Folder, Parts, decode_entry, encode_entry, parts_of
from .cache.entry import Line
from .cache.places import named_lines, node_lines, relabelled
from .devices import attached
from .ir.graph import Graph
from .ir.graph.node import Literal, with_nested
from .linked import LINKED, KernelCode, object_digest
from .options import Options
from .runtime import Executable

if TYPE_CHECKING:
    from .compiler import CompiledFunction
    from .ir.plan import Plan

MOST_CONSTANT_BYTES = 64 << 20  # of one entry, those that the traced graph has itself not counted


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a program came from, in ``seconds``; ``why`` it was compiled, in words, "" where it was not."""

    cached: bool
    seconds: float
    why: str = ""


class Program:
    """``graph`` ready to run: ``executable``, and where it came from.

    ``function`` holds the stages; of a program from the cache they are made when somebody asks for them.
    """

    def __init__(
        self, graph: Graph, options: Options, result_names: Sequence[str] = (), donated: frozenset[int] = frozenset()
    ) -> None:
        self.graph = graph
        self.options = options
        self.result_names = tuple(result_names)
        self.donated = donated
        begin = time.perf_counter()
        self.executable, why = self._make()
        self.origin = Origin(not why, time.perf_counter() - begin, why)

    @cached_property
    def function(self) -> CompiledFunction:
        from .compiler import compile_function

        return compile_function(self.graph, self.options, result_names=self.result_names, donated=self.donated)

    @property
    def plan(self) -> Plan:
        """The plan that runs."""
        from .ir.plan import decode

        return decode(self._plan_bytes)

    def _make(self) -> tuple[Executable, str]:
        """Loaded, else compiled; why in words. Of processes that want it at once one compiles, and the others load."""
        loaded, why = self._load()
        if loaded is not None or self._folder is None:
            return loaded or self._compile(), why
        with self._folder.turns.take(self._name, ready="mlc.compiler" in sys.modules):
            if self._folder.has(self._name):  # another process has put it there meanwhile, or it is damaged
                loaded, _ = self._load()
            return (loaded, "") if loaded is not None else (self._compile(), why)

    def _compile(self) -> Executable:
        from .compiler import kernel_codes
        from .ir.plan import encode

        codes = kernel_codes(self.function)
        self._plan_bytes = encode(self.function.plan)
        self._constants = self.function.constants
        self._devices = tuple(
            [(d.name, ptx) for d, ptx in zip(self.function.plan.devices, self.function.images, strict=True)]
        )
        if self._folder is not None:
            self._store(self._folder, codes)
        return self._link(codes)

    def _link(self, codes: Sequence[KernelCode | None]) -> Executable:
        owners = list({id(c.owner): c.owner for c in codes if c}.values())
        addresses = [c.address if c else 0 for c in codes]
        there = attached([name for name, _ in self._devices], [ptx for _, ptx in self._devices])
        return Executable(self._plan_bytes, addresses, list(self._constants), owners, Array, *there)

    # ------------------------------------------------------------ the cache

    @cached_property
    def _folder(self) -> Folder | None:
        """The cache, where this program may come from it: dumps and verification need the passes to run."""
        options = self.options
        if options.cache is None or options.dump is not None or options.verify:
            return None
        folder = _folder(options.cache)
        return None if folder.refusal else folder

    @cached_property
    def _parts(self) -> Parts:
        assert self._folder is not None
        return parts_of(self.graph, self.options, self.result_names, self.donated, self._folder)

    @property
    def _name(self) -> str:
        """The program's file in the cache."""
        return f"program-{self._parts.key}"

    @property
    def _latest(self) -> str:
        """The file that remembers what the function of this name, in this file, was compiled from last."""
        first = next((line for line in node_lines(self.graph) if line[0]), ("", 0, ""))
        return "latest-" + hashlib.sha256(f"{self.graph.name}\n{first[0]}".encode()).hexdigest()

    def _load(self) -> tuple[Executable | None, str]:
        """From the cache; why not in words otherwise."""
        folder = self._folder
        if folder is None:
            return None, _why_off(self.options)
        payload = folder.get(self._name)
        if payload is None:
            return None, "its entry in the cache is damaged" if folder.has(self._name) else self._why_missing(folder)
        try:
            entry = decode_entry(payload)
            codes = [_kernel(folder, *kernel) if kernel[0] else None for kernel in entry.kernels]
            self._constants = self._constants_of(entry)
            self._devices = entry.devices
        except (ValueError, KeyError, TypeError) as error:
            return None, f"its entry in the cache is incomplete ({error})"
        lines = node_lines(self.graph)
        moved = any(position >= len(lines) or lines[position] != line for position, line in entry.lines.items())
        self._plan_bytes = _relabelled(entry, lines) if moved else entry.plan
        return self._link(codes), ""

    def _constants_of(self, entry: Entry) -> tuple[Any, ...]:
        if not any(isinstance(c, str) for c in entry.constants):
            return entry.constants
        known = _literals(self.graph)
        return tuple([known[c].array if isinstance(c, str) else c for c in entry.constants])

    def _why_missing(self, folder: Folder) -> str:
        before = folder.get(self._latest)
        if before is None:
            return "not in the cache: no function of this name and file was compiled before"
        why = self._parts.difference(Parts(**json.loads(before)))
        return f"not in the cache: since it was compiled last, {why}" if why else "its entry is gone or damaged"

    def _store(self, folder: Folder, codes: Sequence[KernelCode | None]) -> None:
        known = _literals(self.graph) if self._constants else {}
        constants = []
        for array in self._constants:
            digest = Literal(array).digest
            constants.append(digest if digest in known else array)
        if sum(c.nbytes for c in constants if not isinstance(c, str)) > MOST_CONSTANT_BYTES:
            return
        for code in {c.object: c for c in codes if c}.values():
            if folder.get(f"object-{code.object}") is None:
                folder.put(f"object-{code.object}", code.owner.object)
        kernels = tuple([(c.key, c.object, c.symbol) if c else ("", "", "") for c in codes])
        lines = named_lines(self.function.plan, node_lines(self.graph))
        entry = Entry(self._plan_bytes, kernels, tuple(constants), lines, self._devices)
        folder.put(self._name, encode_entry(entry))
        folder.put(self._latest, json.dumps(asdict(self._parts)).encode())


@cache
def _folder(path: Path) -> Folder:
    return Folder(path)


def _why_off(options: Options) -> str:
    if options.cache is None:
        return "the cache is off (MLC_CACHE=0)"
    if options.dump is not None or options.verify:
        return "MLC_DUMP and MLC_VERIFY need every stage"
    return f"the cache is not used: {_folder(options.cache).refusal}"


def _kernel(folder: Folder, key: str, digest: str, symbol: str) -> KernelCode:
    """A kernel of this process, or of an object of the cache. KeyError where it is not there."""
    if key in LINKED:
        return LINKED[key]
    if not LINKED.has_object(digest):
        content = folder.get(f"object-{digest}")
        if content is None or object_digest(content) != digest:
            raise KeyError(f"object {digest[:12]}")
        LINKED.add_object(content)
    return LINKED.add_kernel(key, digest, symbol)


def _relabelled(entry: Entry, lines: list[Line]) -> bytes:
    from .ir.plan import decode, encode

    return encode(relabelled(decode(entry.plan), entry.lines, lines))


def _literals(graph: Graph) -> dict[str, Literal]:
    """Every literal of a graph and of those inside it, by its digest."""
    found: dict[str, Literal] = {}
    for g in with_nested(graph):
        for node in g.nodes:
            found.update((v.digest, v) for v in node.attributes.values() if isinstance(v, Literal))
    return found
