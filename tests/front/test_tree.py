"""Trees: flatten and unflatten are inverse, structures compare, paths read as the user writes them."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlc import tree
from mlc.errors import ArgumentError


class Pair(NamedTuple):
    first: Any
    second: Any


@dataclass(frozen=True)
class Layer:
    weight: Any
    bias: Any = None


class Box:
    def __init__(self, inside: Any, label: str) -> None:
        self.inside, self.label = inside, label


tree.register_node(Box, lambda b: ((b.inside,), b.label), lambda label, children: Box(children[0], label))

trees = st.recursive(
    st.integers() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3)
        | st.tuples(inner, inner)
        | st.builds(Pair, inner, inner)
        | st.builds(Layer, inner, inner)
    ),
    max_leaves=12,
)


@given(trees)
def test_unflatten_is_the_inverse_of_flatten(value: Any) -> None:
    leaves, structure = tree.flatten(value)
    assert tree.unflatten(structure, leaves) == value
    assert len(tree.paths(structure)) == structure.num_leaves == len(leaves)
    assert len(set(tree.paths(structure))) == len(leaves)


@given(trees, trees)
def test_structures_are_equal_when_their_trees_map_together(one: Any, other: Any) -> None:
    a, b = tree.structure(one), tree.structure(other)
    assert (a == b) == (repr(a) == repr(b))
    if a == b:
        assert hash(a) == hash(b)
    else:
        with pytest.raises(ArgumentError, match=r"structures differ at"):
            tree.map(lambda x, y: x, one, other)


def test_dicts_are_in_order_of_their_keys_whatever_the_insertion() -> None:
    assert tree.flatten({"b": 1, "a": 2}) == tree.flatten({"a": 2, "b": 1})
    assert tree.leaves(OrderedDict(b=1, a=2)) == [1, 2]


def test_paths_read_as_the_user_writes_them() -> None:
    value = {"w": [Pair(1, Layer(2, Box(3, "x"))), None], 4: (5,)}
    with pytest.raises(ArgumentError, match="dict keys of types int, str cannot be sorted"):
        tree.flatten(value)
    del value[4]
    found, _ = tree.flatten_with_paths(value, "params")
    assert found == [
        ("params['w'][0].first", 1),
        ("params['w'][0].second.weight", 2),
        ("params['w'][0].second.bias[0]", 3),
    ]


def test_registered_containers_keep_what_is_no_leaf() -> None:
    made = tree.map(lambda x: x + 1, Box(1, "label"))
    assert (made.inside, made.label) == (2, "label")
    assert tree.structure(Box(1, "a")) != tree.structure(Box(1, "b"))
    with pytest.raises(ValueError, match="registered already"):
        tree.register_node(Box, lambda b: ((), None), lambda aux, children: None)


def test_a_container_that_holds_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ArgumentError, match="deeper than 200"):
        tree.flatten(loop)


def test_a_wrong_number_of_leaves_is_refused() -> None:
    with pytest.raises(ArgumentError, match="has 2 leaves; 1 were given"):
        tree.unflatten(tree.structure([1, 2]), [1])


def test_differences_name_the_place() -> None:
    with pytest.raises(ArgumentError, match=r"structures differ at \['a'\]: a list and a tuple"):
        tree.map(lambda x, y: x, {"a": [1]}, {"a": (1,)})
    with pytest.raises(ArgumentError, match=r"only one has 'b'"):
        tree.map(lambda x, y: x, {"a": 1}, {"a": 1, "b": 1})
