"""mlc.explain_cache: why each signature of a jitted function was compiled, or where its code came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import tree
from .errors import ArgumentError
from .ir.types import TensorType
from .program import Origin
from .tree import TreeDef


@dataclass(frozen=True)
class Record:
    """One signature that was compiled: the structure and types of its arguments, static values, and the origin."""

    names: tuple[str, ...]  # of the leaves
    structure: TreeDef
    types: tuple[TensorType, ...]
    static: Mapping[str, Any]
    origin: Origin

    def __str__(self) -> str:
        leaves = [f"{name}: {t}" for name, t in zip(self.names, self.types, strict=True)]
        if len(leaves) > 6:
            leaves[5:] = [f"... {len(leaves) - 5} more"]
        return ", ".join([*leaves, *(f"{k}={v!r:.40}" for k, v in self.static.items())])

    def difference(self, before: Record) -> list[str]:
        """What is new in this signature, in words; empty where nothing is."""
        if self.structure != before.structure:
            return ["the structure of the arguments: " + tree.difference(before.structure, self.structure)]
        found = [
            f"argument {name} is {now}, was {then}"
            for name, now, then in zip(self.names, self.types, before.types, strict=True)
            if now != then
        ]
        for name, value in self.static.items():
            if name not in before.static or not _same(before.static[name], value):
                was = f"was {before.static[name]!r:.40}" if name in before.static else "was not given"
                found.append(f"static {name} is {value!r:.40}, {was}")
        return found or [f"static {name} is not given" for name in before.static if name not in self.static]


def explain_cache(function: Any) -> str:
    """One line for each signature that ``function``, made by ``mlc.jit``, was called with: hit or miss, and why.

    A line says whether the code came from the cache on disk or was compiled, what was new compared with the most
    similar call before (a shape, a type, a static value, the structure), and why the cache on disk did not have it.

    Raises ArgumentError for what ``mlc.jit`` did not make.

    Example:
        >>> import mlc, mlc.numpy as mnp
        >>> f = mlc.jit(lambda x: x + 1)
        >>> _ = f(mnp.ones(3)), f(mnp.ones(4))
        >>> "new: argument x is f32[4], was f32[3]" in mlc.explain_cache(f)
        True
    """
    from .staging import JitFunction

    if not isinstance(function, JitFunction):
        raise ArgumentError(f"explain_cache: {function!r:.60} is no jitted function", hint="pass what mlc.jit returned")
    records = function.records
    name = str(getattr(function, "__name__", "function"))
    lines = [f"{name}({record}): {_words(record, records[:i])}" for i, record in enumerate(records)]
    return "\n".join(lines) or f"{name}: not called yet"


def _words(record: Record, before: Sequence[Record]) -> str:
    milliseconds = f"{record.origin.seconds * 1e3:.1f} ms"
    said = f"hit: from the cache on disk in {milliseconds}"
    if not record.origin.cached:
        said = f"miss: compiled in {milliseconds}; {record.origin.why}"
    if not before:
        return f"{said}; new: the first call"
    changes = [(other.structure != record.structure, record.difference(other)) for other in reversed(before)]
    _, least = min(changes, key=lambda change: (change[0], len(change[1])))
    more = f" and {len(least) - 2} more" if len(least) > 2 else ""
    return f"{said}; new: {', '.join(least[:2]) or 'nothing, two threads called at once'}{more}"


def _same(one: Any, other: Any) -> bool:
    from .staging import static_key

    return bool(static_key(one) == static_key(other))
