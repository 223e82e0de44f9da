"""Text: goldens, the way back, and that no text crashes the parser."""

from __future__ import annotations

import random
import re
import struct
from typing import Any

import numpy as np
import pytest

from mlc.errors import MlcError, ParseError
from mlc.ir import graph as g
from mlc.ir.dims import dim
from mlc.ir.graph import Graph, Literal, Location, Table, constant, parse_graph, print_graph, resources_of, verify_graph
from mlc.ir.types import BF16, BOOL, DTYPES, F16, F32, F64, I32, TOKEN, U32, DType, TensorType, TupleType

NAN = struct.unpack("<d", struct.pack("<Q", 0xFFF8_0000_0000_0123))[0]


def assert_round_trip(graph: Graph, locations: bool = False) -> Graph:
    text = print_graph(graph, locations)
    again = parse_graph(text, resources_of(graph))
    assert print_graph(again, locations) == text
    assert again.fingerprint == graph.fingerprint
    verify_graph(again)
    return again


def sample() -> Graph:
    """Parameters with and without names, sizes, constants, a reduce, nested graphs, a tuple."""
    table, inner = Table(), Table()
    b = dim("batch", 1, 64)
    with inner.active():
        p = inner.parameter(TensorType((b, 10), F32), "a")
        pair = Graph("soft max", (p,), (g.EXPONENTIAL(p), g.NEGATE(p)), inner)
    with table.active(), table.at((Location("m.py", 3, "x @ w", "encoder"),)):
        x = table.parameter(TensorType((b, 784), F32), "x")
        w = table.parameter(TensorType((784, 10), F32), "params['w']")
        y = g.dot_general(x, w, (1,), (0,))
        top = g.reduce_with(g.MAXIMUM, y, (1,))
        first = g.COMPOSITE(y, name="softmax", decomposition=pair, options={"axis": 1, "eps": 1e-5})
        second = g.CALL(y, callee=pair)
        far = table.make(g.NEGATE, (top,), top.type, {}, device="gpu:0", remat=2)
        results = (top, g.results_of(first)[0], g.results_of(second)[1], far, g.size_value(b * b - b * 2 + 3))
        return Graph("main", (x, w), results, table)


GOLDEN = """\
graph @main(%x: f32[batch,784], %0 "params['w']": f32[784,10]) -> (f32[batch], f32[batch,10], f32[batch,10], f32[batch], i64[]) where batch in 1..64 {
  %1 = dot_general %x, %0, lhs_contracting = [1], rhs_contracting = [0], lhs_batch = [], rhs_batch = [] : f32[batch,10]
  %2 = constant -inf : f32[]
  %3 = reduce %1, init %2, maximum over [1] : f32[batch]
  %4 = composite %1, name = "softmax", decomposition = @"soft max"(%a: f32[batch,10]) -> (f32[batch,10], f32[batch,10]) {
    %0 = exponential %a : f32[batch,10]
    %1 = negate %a : f32[batch,10]
    return %0, %1
  }, options = {axis = 1, eps = 1e-05} : (f32[batch,10], f32[batch,10])
  %5 = call %1, callee = @"soft max" : (f32[batch,10], f32[batch,10])
  %6 = negate %3 : f32[batch] device "gpu:0" remat 2
  %7 = get_tuple_element %4, index = 0 : f32[batch,10]
  %8 = get_tuple_element %5, index = 1 : f32[batch,10]
  %9 = size value = 3-2*batch+batch*batch : i64[]
  return %3, %7, %8, %6, %9
}
"""  # noqa: E501


def test_golden() -> None:
    graph = sample()
    assert str(graph) == GOLDEN
    assert_round_trip(graph)


def test_locations() -> None:
    graph = sample()
    assert 'negate %3 : f32[batch] device "gpu:0" remat 2 loc("m.py":3, "encoder", "x @ w")' in print_graph(graph, True)
    again = assert_round_trip(graph, locations=True)
    assert again.locations(again.results[0]) == (Location("m.py", 3, "x @ w", "encoder"),)
    assert again.parameters[1]["name"] == "params['w']"


CONSTANTS: list[tuple[Any, DType, str | None]] = [
    (1.0, F32, "1.0"),
    (-0.0, F32, "-0.0"),
    (0.1, F32, "0.1"),
    (0.1, F64, "0.1"),
    (0.1, F16, None),
    (np.inf, F16, "inf"),
    (-np.inf, BF16, "-inf"),
    (1e-45, F32, None),
    (5e-324, F64, None),
    (True, BOOL, "true"),
    (1, I32, "1"),
    (2**64 - 1, DTYPES["u64"], "18446744073709551615"),
    (-(2**63), DTYPES["i64"], "-9223372036854775808"),
    (NAN, F64, "0xfff8000000000123"),
    (np.nan, F32, "0x7fc00000"),
    ([1, 2], I32, "[1, 2]"),
    ([[1.5]], F32, "[1.5]"),
    ([7] * 9, I32, "splat 7"),
    (np.zeros((3, 0)), F32, "[]"),
    (range(20), DTYPES["u8"], 'hex "000102030405060708090a0b0c0d0e0f10111213"'),
    ([[False, True], [True, True]], BOOL, "[false, true, true, true]"),
    ([NAN, -0.0, 0.0], F64, "[0xfff8000000000123, -0.0, 0.0]"),
]


@pytest.mark.parametrize("value, dtype, words", CONSTANTS, ids=lambda v: str(v)[:24])
def test_constants(value: Any, dtype: DType, words: str | None) -> None:
    array = np.asarray(list(value) if isinstance(value, range) else value, dtype.numpy)
    table = Table()
    with table.active():
        graph = Graph("c", (), (constant(array, dtype),), table)
    assert words is None or f"= constant {words} : {dtype}[" in str(graph)
    again = assert_round_trip(graph)
    assert again.results[0]["value"] == Literal(array, dtype)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_every_bit_pattern_comes_back(dtype: DType) -> None:
    raw = np.random.default_rng(3).integers(0, 256, 4 * 15 * dtype.itemsize, np.uint8)
    arrays = (raw % 2).astype(bool).reshape(-1, 15) if dtype == BOOL else raw.view(dtype.numpy).reshape(-1, 15)
    table = Table()
    with table.active():
        assert_round_trip(Graph("c", (), [constant(row, dtype) for row in arrays], table))


def test_resources() -> None:
    table = Table()
    array = np.arange(300, dtype=np.float32)
    with table.active():
        graph = Graph("c", (), (constant(array),), table)
    (digest,) = resources_of(graph)
    assert f'constant resource "{digest}" : f32[300]' in str(graph)
    assert_round_trip(graph)
    for resources, words in (
        ({}, "no resource"),
        ({digest: array + 1}, "other bytes"),
        ({digest: array.astype(np.float64)}, "the resource is float64"),
    ):
        with pytest.raises(ParseError, match=words):
            parse_graph(str(graph), resources)


def test_attribute_values() -> None:
    """Options of a composite hold any attribute value; each comes back as what it was."""
    n = dim("n", 1, 9)
    options = {
        "none": None,
        "true": True,
        "one": 1,
        "float": 1.0,
        "minus": -0.0,
        "nan": NAN,
        "inf": -np.inf,
        "text": 'a"\n\u00e9\ud800',
        "dtype": BF16,
        "tuple": (1, (2.5, ()), "x"),
        "size": n * 2 + 1,
        "type": TupleType((TensorType((n,), F32), TOKEN)),
        "literal": Literal([-0.0], F32),
        "odd key": {"deep": (True,)},
        "f32": 3,
    }
    table = Table()
    with table.active():
        x = table.parameter(TensorType((n,), F32))
        body = g.body_of(g.ADD, F32)
        callee = Graph("id", (x,), (x,), table)
        node = g.COMPOSITE(x, name="any", decomposition=callee, options={**options, "graph": body, "again": body})
        graph = Graph("main", (x,), (node,), table)
    again = assert_round_trip(graph)
    back = again.results[0]["options"]
    assert repr({k: back[k] for k in sorted(options)}) == repr({k: options[k] for k in sorted(options)})
    assert back["graph"] is back["again"]


def test_names_that_are_words_of_the_language() -> None:
    table = Table()
    f, where = dim("f32", 0, 5), dim("where", 1, 2)
    with table.active():
        x = table.parameter(TensorType((f, where), F32), "return")
        y = table.parameter(TensorType((f * where,), F32), "x y")
        z = table.parameter(TensorType((), F32), "return")
        graph = Graph("where", (x, y, z), (g.reshape(x, (f * where,)), y, z, g.size_value(f)), table)
    again = assert_round_trip(graph)
    assert [p["name"] for p in again.parameters] == ["return", "x y", "return"] and again.name == "where"


def test_graphs_of_one_name_are_told_apart() -> None:
    table = Table()
    with table.active():
        x = table.parameter(TensorType((), F32))
        y = x
        for op in (g.SINE, g.COSINE, g.SINE):
            inner = Table()
            with inner.active():
                p = inner.parameter(TensorType((), F32))
                body = Graph("layer", (p,), (op(p),), inner)
            y = g.CALL(y, callee=body)
        graph = Graph("layer", (x,), (y,), table)
    text = str(graph)
    assert re.findall(r"@\w+", text) == ["@layer", "@layer_1", "@layer_2", "@layer_1"]
    assert_round_trip(graph)


def test_reduce_with_a_body_of_its_own() -> None:
    table, inner = Table(), Table()
    with inner.active():
        p, q = inner.parameter(TensorType((), F32)), inner.parameter(TensorType((), F32))
        body = Graph("other", (p, q), (g.ADD(q, p),), inner)
    with table.active():
        x, init = table.parameter(TensorType((3,), F32)), table.parameter(TensorType((), F32))
        graph = Graph("main", (x, init), (g.REDUCE(x, init, dimensions=(0,), body=body),), table)
    assert "dimensions = [0], body = @other(%0: f32[], %1: f32[])" in str(assert_round_trip(graph))


HEAD = "graph @f(%x: f32[2]) -> (f32[2]) {\n  "
ERRORS = [
    ("", 1, 1, "expected `graph`, found the end of the text"),
    ("graph @f", 1, 9, "expected `(`, found the end"),
    ("graph @f(%x: q32[2])", 1, 14, "expected an element type (f16, bf16"),
    ("graph @f(%x: f32[n])", 1, 18, "expected a size that the header declares, found n"),
    ("graph @f(%x: f32[-2])", 1, 14, "has a size that can be negative"),
    ("graph @f(%x: f32[2], %x: f32[2])", 1, 22, "%x is defined twice"),
    ("graph @f() -> () where n in 1..2, n in 1..2 {", 1, 35, "declared twice"),
    ("graph @f() -> () where n in 3..2 {", 1, 24, "hold no size"),
    (HEAD + "return %y }", 2, 10, "expected a value defined above, found `%y`"),
    (HEAD + "%0 = tanh %x : f32[3]\n return %0 }", 2, 8, "tanh: the type is f32[2], written is f32[3]"),
    (HEAD + "%0 = tanh %x, %x : f32[2]\n return %0 }", 2, 8, "tanh: takes 1 operands, was given 2"),
    (HEAD + "%0 = tanhh %x : f32[2]\n return %0 }", 2, 8, "expected an operation, found `tanhh`"),
    (HEAD + "%0 = parameter id = 0 : f32[2]\n return %0 }", 2, 8, "expected an operation"),
    (
        HEAD + "%0 = compare %x, %x, direction = 3 : bool[2]\n return %0 }",
        2,
        8,
        "attribute direction is a string, not 3",
    ),
    (HEAD + "%0 = compare %x, %x : bool[2]\n return %0 }", 2, 8, "missing direction"),
    (HEAD + "%0 = tanh %x, axis = 3 : f32[2]\n return %0 }", 2, 17, "expected each of the attributes"),
    (HEAD + "%0 = constant 1.5 : i32[]\n return %0 }", 2, 8, "1.5 is no i32"),
    (HEAD + "%0 = constant 300 : u8[]\n return %0 }", 2, 8, "300 is no u8"),
    (HEAD + "%0 = constant [1, 2] : f32[3]\n return %0 }", 2, 8, "2 elements are no f32[3]"),
    (HEAD + "%0 = constant splat 1.0 : f32[999999999999]\n return %0 }", 2, 8, "must be a resource"),
    (HEAD + '%0 = constant hex "zz" : f32[2]\n return %0 }', 2, 8, "hexadecimal"),
    (HEAD + '%0 = constant hex "02" : bool[1]\n return %0 }', 2, 8, "a bool is the byte"),
    (HEAD + "%0 = reduce %x, init %x, sub over [0] : f32[]\n return %0 }", 2, 28, "expected one of add, multiply"),
    (HEAD + "%0 = call %x, callee = @g : f32[2]\n return %0 }", 2, 26, "expected a graph that ends above, found @g"),
    (HEAD + "%0 = call %x, callee = @f : f32[2]\n return %0 }", 2, 26, "expected a graph that ends above, found @f"),
    (HEAD + "%x = tanh %x : f32[2]\n return %x }", 2, 3, "%x is defined twice"),
    (HEAD + "return %x }\nmore", 3, 1, "expected the end of the text"),
    (HEAD + "return %x, %x }", 1, 25, "the header gives the results (f32[2]); returned are (f32[2], f32[2])"),
    (HEAD + "\x00", 2, 3, "expected a word of the language, found '\\x00'"),
    (HEAD + "%0 = iota dimension = 0 : f32[" + "9" * 500 + "]", 2, 33, "at most 400 digits"),
    (HEAD + "%0 = iota dimension = 0 : f32[" + "9" * 40 + "]", 2, 33, "at most 64 bits"),
    (HEAD + "%0 = iota dimension = 0 : f32[" + ",".join(["9"] * 40) + "]", 2, 29, "rank 40 is over 32"),
    (HEAD + "%0 = tanh %x, a = " + "[" * 99999, 2, 84, "nested at most 64 deep"),
    (HEAD + "%0 = tanh %x : " + "(" * 99999, 2, 81, "nested at most 64 deep"),
]


@pytest.mark.parametrize("text, line, column, words", ERRORS, ids=[e[3][:30] for e in ERRORS])
def test_errors_name_line_and_column(text: str, line: int, column: int, words: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_graph(text)
    message = str(caught.value)
    assert words in message and message.startswith(f"line {line}, column {column}: "), message[:300]


def test_nested_graphs_are_limited() -> None:
    text = "graph @g() -> () { " + "".join(f"%0 = call callee = @g{i}() -> () {{ " for i in range(500))
    with pytest.raises(ParseError, match="nested at most 64 deep"):
        parse_graph(text)


def test_long_sizes_are_limited() -> None:
    for size in ("n*" * 1000 + "n", "n+" * 1000 + "n", "+".join("*".join("n" * k) for k in range(1, 60))):
        text = f"graph @f(%x: f32[{','.join([size] * 8)}]) -> () where n in 1..2 {{ return }}"
        with pytest.raises(ParseError):
            parse_graph(text)


def test_damaged_text_is_refused_or_read() -> None:
    """Words dropped, doubled, swapped and exchanged in a real text: a graph that verifies, or a ParseError."""
    text = GOLDEN
    words = re.findall(r"\s+|%?\w+|.", text)
    pool = [
        *words,
        "-1",
        "99999999999999999999",
        "inf",
        "nan",
        "true",
        '"x"',
        "none",
        "f32",
        "[",
        "]",
        "@g",
        "{",
        "over",
        "\x7f",
    ]
    rng = random.Random(11)
    read = 0
    for _ in range(3000):
        changed = list(words)
        for _ in range(rng.choice((1, 1, 2, 5))):
            i, kind = rng.randrange(len(changed)), rng.randrange(4)
            if kind == 0:
                del changed[i]
            elif kind == 1:
                changed.insert(i, rng.choice(pool))
            elif kind == 2:
                changed[i] = rng.choice(pool)
            else:
                j = rng.randrange(len(changed))
                changed[i], changed[j] = changed[j], changed[i]
        try:
            graph = parse_graph("".join(changed))
        except ParseError as error:
            assert error.location and re.match(r"line \d+, column \d+: ", error.location)
            continue
        read += 1
        try:
            verify_graph(graph)
        except MlcError:
            continue
        assert parse_graph(str(graph)).fingerprint == graph.fingerprint
    assert 0 < read < 2000


def test_tokens_and_random_bits_keep_their_types() -> None:
    table = Table()
    with table.active():
        key = table.parameter(TensorType((2,), U32), "key")
        bits = g.RNG_BIT_GENERATOR(key, shape=(3,), dtype=U32, algorithm="THREE_FRY")
        token = table.parameter(TOKEN, "token")
        graph = Graph("main", (key, token), (*g.results_of(bits), token), table)
    assert_round_trip(graph)
