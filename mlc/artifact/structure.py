"""Argument and result trees as JSON: dicts, lists, tuples and None around leaf numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from mlc.errors import ArgumentError, ArtifactError, UnsupportedError

Json = Any  # what json.loads gives


def to_json(tree: object) -> Json:
    """A tree whose leaves are ints as JSON. Named tuples become tuples, data classes dicts of their fields.

    >>> to_json({"a": (0, None), "b": [1]})
    {'dict': {'a': {'tuple': [0, {'none': True}]}, 'b': {'list': [1]}}}
    """
    if isinstance(tree, int):
        return tree
    if tree is None:
        return {"none": True}
    if isinstance(tree, dict):
        if not all(isinstance(key, str) for key in tree):
            raise UnsupportedError("an exported function's dicts must have strings as keys")
        return {"dict": {key: to_json(value) for key, value in tree.items()}}
    if isinstance(tree, tuple | list):
        return {"list" if isinstance(tree, list) else "tuple": [to_json(value) for value in tree]}
    if dataclasses.is_dataclass(tree):
        return {"dict": {f.name: to_json(getattr(tree, f.name)) for f in dataclasses.fields(tree)}}
    raise UnsupportedError(f"an exported function cannot have a {type(tree).__name__} among its arguments or results")


def check(structure: Json, leaves: int, what: str) -> None:
    """Raise ArtifactError unless `structure` is well formed and holds each of the `leaves` exactly once."""
    found: list[int] = []
    _collect(structure, what, 0, found)
    if sorted(found) != list(range(leaves)):
        raise ArtifactError(f"{what}: its structure holds the leaves {found[:8]}, there are {leaves}")


def flatten(structure: Json, value: object, name: str, leaves: dict[int, object]) -> None:
    """Put the leaves of `value` into `leaves` by number; ArgumentError names the place that does not fit."""
    if isinstance(structure, int):
        leaves[structure] = value
        return
    kind, parts = _open(structure, name)
    if kind == "none":
        if value is not None:
            raise ArgumentError(f"{name} is None in the artifact, got a {type(value).__name__}")
    elif kind == "dict":
        if not isinstance(value, dict) or set(value) != set(parts):
            got = f"the keys {sorted(map(str, value))}" if isinstance(value, dict) else f"a {type(value).__name__}"
            raise ArgumentError(f"{name} is a dict with the keys {sorted(parts)}, got {got}")
        for key, part in parts.items():
            flatten(part, value[key], f"{name}[{key!r}]", leaves)
    else:
        if not isinstance(value, tuple | list) or len(value) != len(parts):
            got = f"{len(value)} elements" if isinstance(value, tuple | list) else f"a {type(value).__name__}"
            raise ArgumentError(f"{name} is a {kind} of {len(parts)} elements, got {got}")
        for i, (part, element) in enumerate(zip(parts, value, strict=True)):
            flatten(part, element, f"{name}[{i}]", leaves)


def unflatten(structure: Json, leaves: Sequence[object]) -> object:
    """The tree that has `leaves` where `structure` has their numbers.

    >>> unflatten({"dict": {"probs": 0}}, ["p"])
    {'probs': 'p'}
    """
    if isinstance(structure, int):
        return leaves[structure]
    kind, parts = _open(structure, "result")
    if kind == "none":
        return None
    if kind == "dict":
        return {key: unflatten(part, leaves) for key, part in parts.items()}
    elements = [unflatten(part, leaves) for part in parts]
    return elements if kind == "list" else tuple(elements)


def _collect(structure: Json, what: str, depth: int, found: list[int]) -> None:
    if type(structure) is int:
        found.append(structure)
        return
    if depth > 64:
        raise ArtifactError(f"{what}: nested deeper than 64")
    kind, parts = _open(structure, what)
    for part in parts.values() if kind == "dict" else parts if kind != "none" else ():
        _collect(part, what, depth + 1, found)


def _open(structure: Json, what: str) -> tuple[str, Any]:
    """The kind and the parts of an inner node, checked."""
    shapes = {"none": bool, "dict": dict, "list": list, "tuple": list}
    if isinstance(structure, dict) and len(structure) == 1:
        ((kind, parts),) = structure.items()
        if kind in shapes and isinstance(parts, shapes[kind]):
            return kind, parts
    raise ArtifactError(f"{what}: a damaged structure")
