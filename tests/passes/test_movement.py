"""simplify: moves of moves, folds of what is repeated, converts of converts; near misses stay; the numbers are equal."""

from __future__ import annotations

import pytest

from mlc.ir.graph.parser import parse_graph
from mlc.passes.simplify import simplify

from .check import check_same_meaning, dedent


def ops_after(parameters: str, body: str, result: str) -> list[str]:
    graph = parse_graph(dedent(f"""
        graph @f({parameters}) -> ({result}) {{
          {body}
          return %r
        }}"""))  # fmt: skip
    after = simplify(graph)
    check_same_meaning(graph, after)
    return [n.op.name for n in after.nodes if n.op.name not in ("parameter", "constant")]


X = "%x: f32[4,6]"
CASES = {
    "slice of slice": (X, """%a = slice %x, start = [1, 0], limit = [4, 6], strides = [1, 2] : f32[3,3]
          %r = slice %a, start = [1, 0], limit = [3, 3], strides = [1, 2] : f32[2,2]""", "f32[2,2]", ["slice"]),
    "empty slice of slice": (X, """%a = slice %x, start = [1, 0], limit = [3, 6], strides = [1, 5] : f32[2,2]
          %r = slice %a, start = [2, 2], limit = [2, 2], strides = [1, 1] : f32[0,0]""", "f32[0,0]", ["slice"]),
    "slice of the second of two": (f"{X}, %y: f32[5,6]", """%a = concatenate %x, %y, dimension = 0 : f32[9,6]
          %r = slice %a, start = [5, 1], limit = [9, 6], strides = [2, 1] : f32[2,5]""", "f32[2,5]", ["slice"]),
    "slice of both": (f"{X}, %y: f32[5,6]", """%a = concatenate %x, %y, dimension = 0 : f32[9,6]
          %r = slice %a, start = [3, 0], limit = [5, 6], strides = [1, 1] : f32[2,6]""", "f32[2,6]",
                      ["concatenate", "slice"]),
    "concatenate of one": (X, "%r = concatenate %x, dimension = 0 : f32[4,6]", "f32[4,6]", []),
    "concatenate of concatenate": (X, """%a = concatenate %x, %x, dimension = 1 : f32[4,12]
          %r = concatenate %a, %x, dimension = 1 : f32[4,18]""", "f32[4,18]", ["concatenate"]),
    "concatenate along another axis": (X, """%a = concatenate %x, %x, dimension = 1 : f32[4,12]
          %r = concatenate %a, %a, dimension = 0 : f32[8,12]""", "f32[8,12]", ["concatenate", "concatenate"]),
    "concatenate with nothing": (f"{X}, %e: f32[0,6]", "%r = concatenate %e, %x, %e, dimension = 0 : f32[4,6]",
                                 "f32[4,6]", []),
    "pad by nothing": (X, """%z = constant 0.0 : f32[]
          %r = pad %x, %z, low = [0, 0], high = [0, 0], interior = [0, 0] : f32[4,6]""", "f32[4,6]", []),
    "reverse of reverse": (X, """%a = reverse %x, dimensions = [0, 1] : f32[4,6]
          %r = reverse %a, dimensions = [1] : f32[4,6]""", "f32[4,6]", ["reverse"]),
    "reverse twice": (X, """%a = reverse %x, dimensions = [0] : f32[4,6]
          %r = reverse %a, dimensions = [0] : f32[4,6]""", "f32[4,6]", []),
    "reverse of an axis of one": ("%x: f32[1,6]", "%r = reverse %x, dimensions = [0] : f32[1,6]", "f32[1,6]", []),
    "transpose of ones": ("%x: f32[4,1,6]", "%r = transpose %x, permutation = [1, 0, 2] : f32[1,4,6]", "f32[1,4,6]",
                          ["reshape"]),
    "transpose of others": ("%x: f32[4,1,6]", "%r = transpose %x, permutation = [2, 1, 0] : f32[6,1,4]", "f32[6,1,4]",
                            ["transpose"]),
    "transpose of a broadcast": ("%x: f32[6]", """%a = broadcast_in_dim %x, dimensions = [1] : f32[4,6]
          %r = transpose %a, permutation = [1, 0] : f32[6,4]""", "f32[6,4]", ["broadcast_in_dim"]),
    "dynamic slice at constants": (X, """%i = constant 3 : i32[]
          %j = constant -2 : i32[]
          %r = dynamic_slice %x, %i, %j, slice_sizes = [2, 3] : f32[2,3]""", "f32[2,3]", ["slice"]),
    "largest of what is repeated": ("%x: f32[6]", """%i = constant -inf : f32[]
          %a = broadcast_in_dim %x, dimensions = [1] : f32[4,6]
          %r = reduce %a, init %i, maximum over [0] : f32[6]""", "f32[6]", []),
    "largest of some that are repeated": ("%x: f32[6]", """%i = constant -inf : f32[]
          %a = broadcast_in_dim %x, dimensions = [1] : f32[4,6]
          %r = reduce %a, init %i, maximum over [0, 1] : f32[]""", "f32[]", ["reduce"]),
    "largest of none": ("%x: f32[6]", """%i = constant -inf : f32[]
          %a = broadcast_in_dim %x, dimensions = [1] : f32[0,6]
          %r = reduce %a, init %i, maximum over [0] : f32[6]""", "f32[6]", ["broadcast_in_dim", "reduce"]),
    "sum of what is repeated": ("%x: f32[6]", """%i = constant 0.0 : f32[]
          %a = broadcast_in_dim %x, dimensions = [1] : f32[4,6]
          %r = reduce %a, init %i, add over [0] : f32[6]""", "f32[6]", ["broadcast_in_dim", "reduce"]),
    "sum of one": ("%x: f32[1,6]", """%i = constant 2.0 : f32[]
          %r = reduce %x, init %i, add over [0] : f32[6]""", "f32[6]", ["reshape", "broadcast_in_dim", "add"]),
    "wide and back": (X, """%a = convert %x : f64[4,6]
          %r = convert %a : f32[4,6]""", "f32[4,6]", []),
    "narrow and back": (X, """%a = convert %x : f16[4,6]
          %r = convert %a : f32[4,6]""", "f32[4,6]", ["convert", "convert"]),
    "i8 through i32": ("%x: i8[5]", """%a = convert %x : i32[5]
          %r = convert %a : i16[5]""", "i16[5]", ["convert"]),
    "i8 through u32": ("%x: i8[5]", """%a = convert %x : u32[5]
          %r = convert %a : i64[5]""", "i64[5]", ["convert", "convert"]),
    "i16 through f32, which saturates": ("%x: i16[5]", """%a = convert %x : f32[5]
          %r = convert %a : i8[5]""", "i8[5]", ["convert", "convert"]),
    "select of not": (f"{X}, %p: bool[4,6]", """%q = not %p : bool[4,6]
          %a = negate %x : f32[4,6]
          %r = select %q, %x, %a : f32[4,6]""", "f32[4,6]", ["negate", "select"]),
    "magnitude": (X, """%a = negate %x : f32[4,6]
          %b = abs %a : f32[4,6]
          %r = abs %b : f32[4,6]""", "f32[4,6]", ["abs"]),
    "reshape of broadcast ones": ("%x: f32[6]", """%a = broadcast_in_dim %x, dimensions = [2] : f32[4,1,6]
          %r = reshape %a : f32[4,6]""", "f32[4,6]", ["broadcast_in_dim"]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_rule(name: str) -> None:
    parameters, body, result, expected = CASES[name]
    assert ops_after(parameters, body, result) == expected
