"""Trees of values (pytrees): nested dicts, lists, tuples and dataclasses to a flat list of leaves, and back.

Containers are dict (by sorted key), OrderedDict, list, tuple, namedtuple, dataclass, None (a container of nothing) and
what ``register_node`` adds; everything else is a leaf.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from mlc.errors import ArgumentError
from mlc.runtime._array import forget_kind, set_classify

MAX_DEPTH = 200  # deeper trees (and trees that hold themselves) are refused, so that walks may recurse

Flatten = Callable[[Any], tuple[Sequence[Any], Hashable]]
Unflatten = Callable[[Any, Sequence[Any]], Any]


class TreeDef:
    """The structure of a tree without its leaves; equal and hashable by container types, keys and nesting."""

    __slots__ = ("_hash", "aux", "children", "kind", "num_leaves")

    def __init__(self, kind: type | None, aux: Hashable = None, children: tuple[TreeDef, ...] = ()) -> None:
        self.kind = kind  # None: a leaf
        self.aux = aux
        self.children = children
        self.num_leaves: int = 1 if kind is None else sum(c.num_leaves for c in children)
        self._hash = hash((kind, aux, children))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return (
            isinstance(other, TreeDef)
            and self._hash == other._hash
            and self.kind is other.kind
            and self.aux == other.aux
            and self.children == other.children
        )

    def __repr__(self) -> str:
        return f"TreeDef({unflatten(self, [_STAR] * self.num_leaves)!r})"


class _Star:
    def __repr__(self) -> str:
        return "*"


_STAR = _Star()
LEAF = TreeDef(None)
_registry: dict[type, tuple[Flatten, Unflatten]] = {}
_leaf_kinds: set[type] = set()  # types that were found to be no containers


def register_node(kind: type, flatten: Flatten, unflatten: Unflatten) -> None:
    """Make ``kind`` a container: ``flatten(x) -> (children, aux)``, ``unflatten(aux, children) -> x``; aux is hashable.

    Raises ValueError where ``kind`` is one already.

    Example:
        >>> class Pair:
        ...     def __init__(self, a, b):
        ...         self.a, self.b = a, b
        >>> register_node(Pair, lambda p: ((p.a, p.b), None), lambda aux, children: Pair(*children))
        >>> leaves(Pair(1, [2, 3]))
        [1, 2, 3]
    """
    if kind in _registry:
        raise ValueError(f"{kind.__name__} is registered already")
    _registry[kind] = (flatten, unflatten)
    _leaf_kinds.discard(kind)
    forget_kind(kind)


def flatten(tree: Any) -> tuple[list[Any], TreeDef]:
    """The leaves of ``tree`` in order, and its structure.

    Raises ArgumentError for dict keys that cannot be sorted and for trees nested deeper than 200.

    Example:
        >>> flatten({"b": (1, None), "a": [2]})
        ([2, 1], TreeDef({'a': [*], 'b': (*, None)}))
    """
    found: list[Any] = []
    return found, _flatten(tree, found, 0)


def unflatten(structure: TreeDef, leaves: Iterable[Any]) -> Any:
    """The tree with this structure and these leaves. Raises ArgumentError for a wrong number of leaves."""
    given = list(leaves)
    if len(given) != structure.num_leaves:
        raise ArgumentError(f"tree: the structure has {structure.num_leaves} leaves; {len(given)} were given")
    return _unflatten(structure, iter(given))


def leaves(tree: Any) -> list[Any]:
    """The leaves of ``tree`` in order."""
    return flatten(tree)[0]


def structure(tree: Any) -> TreeDef:
    """The structure of ``tree``."""
    return flatten(tree)[1]


def map(function: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """``function`` of each leaf of ``tree`` (and of the leaves in the same place of ``rest``), as a tree.

    Raises ArgumentError naming the first place where the structures differ.

    Example:
        >>> map(lambda a, b: a + b, {"w": 1, "b": [2]}, {"w": 10, "b": [20]})
        {'b': [22], 'w': 11}
    """
    first, kind = flatten(tree)
    columns = [first]
    for other in rest:
        more, other_kind = flatten(other)
        if other_kind != kind:
            raise ArgumentError(f"tree.map: {difference(kind, other_kind)}")
        columns.append(more)
    return _unflatten(kind, iter([function(*row) for row in zip(*columns, strict=True)]))


def flatten_with_paths(tree: Any, root: str = "") -> tuple[list[tuple[str, Any]], TreeDef]:
    """As ``flatten``, each leaf with its path: ``params['w1'][0]``, ``state.step``.

    Example:
        >>> flatten_with_paths({"w": [1, 2]}, "params")[0]
        [("params['w'][0]", 1), ("params['w'][1]", 2)]
    """
    found, kind = flatten(tree)
    return list(zip(paths(kind, root), found, strict=True)), kind


def paths(structure: TreeDef, root: str = "") -> list[str]:
    """The path of every leaf, in order."""
    if structure.kind is None:
        return [root]
    keys = _keys(structure)
    return [p for key, child in zip(keys, structure.children, strict=True) for p in paths(child, root + key)]


def difference(one: TreeDef, other: TreeDef, root: str = "") -> str:
    """Words for the first place where two structures differ."""
    where = root or "the top"
    if one.kind is not other.kind:
        return f"structures differ at {where}: {_kind_words(one)} and {_kind_words(other)}"
    if _keys(one) != _keys(other):
        if isinstance(one.aux, tuple) and isinstance(other.aux, tuple):
            missing = [k for k in (*one.aux, *other.aux) if (k in one.aux) != (k in other.aux)]
            return f"structures differ at {where}: only one has {', '.join(repr(k) for k in missing)}"
        return f"structures differ at {where}: {len(one.children)} and {len(other.children)} children"
    for key, a, b in zip(_keys(one), one.children, other.children, strict=True):
        if a != b:
            return difference(a, b, root + key)
    return f"structures differ at {where}: {one.aux!r} and {other.aux!r}"


def _kind_words(structure: TreeDef) -> str:
    return "a leaf" if structure.kind is None else f"a {structure.kind.__name__}"


def _keys(structure: TreeDef) -> list[str]:
    """What is written behind a path to name each child."""
    kind = structure.kind
    assert kind is not None
    if kind in (dict, OrderedDict):
        assert isinstance(structure.aux, tuple)
        return [f"[{key!r}]" for key in structure.aux]
    if kind not in _registry and (dataclasses.is_dataclass(kind) or (issubclass(kind, tuple) and kind is not tuple)):
        assert isinstance(structure.aux, tuple)
        return [f".{name}" for name in structure.aux]
    return [f"[{i}]" for i in range(len(structure.children))]


def _flatten(tree: Any, found: list[Any], depth: int) -> TreeDef:
    kind = type(tree)
    if kind in _leaf_kinds:
        found.append(tree)
        return LEAF
    if kind is dict:
        keys = _sorted_keys(tree)
        children = [tree[key] for key in keys]
        aux: Hashable = keys
    elif kind is list or kind is tuple:
        children, aux = tree, None
    elif tree is None:
        return _NONE
    elif kind in _registry:
        given, aux = _registry[kind][0](tree)
        children = list(given)
    elif kind is OrderedDict:
        children, aux = list(tree.values()), tuple(tree)
    elif isinstance(tree, tuple) and hasattr(kind, "_fields"):
        children, aux = list(tree), tuple(kind._fields)
    elif hasattr(kind, "__dataclass_fields__"):
        aux = tuple(f.name for f in dataclasses.fields(tree))
        children = [getattr(tree, name) for name in aux]
    else:
        _leaf_kinds.add(kind)
        found.append(tree)
        return LEAF
    if depth >= MAX_DEPTH:
        raise ArgumentError(f"tree: nested deeper than {MAX_DEPTH}", hint="does a container hold itself?")
    return _structure(kind, aux, tuple([_flatten(child, found, depth + 1) for child in children]))


_NONE = TreeDef(type(None))
_MOST_KEPT = 4096
_kept: dict[Hashable, TreeDef] = {}


def _structure(kind: type, aux: Hashable, children: tuple[TreeDef, ...]) -> TreeDef:
    """A TreeDef; those of lists, tuples and dicts by strings are made once, since every call flattens its arguments."""
    if aux is not None and not (kind is dict and all(type(key) is str for key in aux)):  # type: ignore[attr-defined]
        return TreeDef(kind, aux, children)
    identity = (kind, aux, *[id(child) for child in children])
    known = _kept.get(identity)
    if known is None:
        known = TreeDef(kind, aux, children)
        if len(_kept) < _MOST_KEPT:  # what is kept keeps its children, so that their ids stay theirs
            _kept[identity] = known
    return known


def _sorted_keys(tree: dict[Any, Any]) -> tuple[Any, ...]:
    try:
        return tuple(sorted(tree))
    except TypeError:
        names = sorted({type(k).__name__ for k in tree})
        from .tracing.location import user_location

        raise ArgumentError(
            f"tree: dict keys of types {', '.join(names)} cannot be sorted",
            location=str(user_location()),
            hint="give the keys of a dict one type; their order decides on the order of the leaves",
        ) from None


def _unflatten(structure: TreeDef, rest: Iterator[Any]) -> Any:
    kind, aux = structure.kind, structure.aux
    if kind is None:
        return next(rest)
    if kind is type(None):
        return None
    return assemble(kind, aux, [_unflatten(child, rest) for child in structure.children])


def assemble(kind: type, aux: Hashable, children: list[Any]) -> Any:
    """The container of this type, with what a TreeDef says of it, from its children."""
    if kind is list:
        return children
    if kind is tuple:
        return tuple(children)
    if kind in _registry:
        return _registry[kind][1](aux, children)
    assert isinstance(aux, tuple)
    if kind is dict or kind is OrderedDict:
        return kind(zip(aux, children, strict=True))
    if issubclass(kind, tuple):
        return tuple.__new__(kind, children)
    made = object.__new__(kind)  # __init__ may check or convert what is a leaf of another kind here
    for name, child in zip(aux, children, strict=True):
        object.__setattr__(made, name, child)
    return made


# ---------------------------------------------------------------- for the binding, which flattens calls

_OTHER, _LEAF, _NAMED, _DATACLASS, _ORDERED, _REGISTERED = range(6)  # as runtime/binding/signature.c has them


def _classify(kind: type) -> tuple[int, Any]:
    """What a type that is no dict, list or tuple is to a call: its code, and its flatten function or fields."""
    if kind in _registry:
        return _REGISTERED, _registry[kind][0]
    if kind is OrderedDict:
        return _ORDERED, None
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return _NAMED, None
    if hasattr(kind, "__dataclass_fields__"):
        return _DATACLASS, tuple(f.name for f in dataclasses.fields(kind))
    return (_LEAF if issubclass(kind, np.ndarray | np.generic | int | float) else _OTHER), None


set_classify(_classify)
