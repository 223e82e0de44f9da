"""simplify's identities of truth values, whole numbers and moves keep every bit; what is only nearly one stays."""

from __future__ import annotations

import numpy as np
import pytest

from mlc.ir.graph.evaluate import evaluate_graph
from mlc.ir.graph.parser import parse_graph
from mlc.ir.graph.verify import verify_graph
from mlc.ir.types import TensorType
from mlc.passes.simplify import simplify

from .check import dedent

P, X, N, U = "%p: bool[2,3]", "%x: f32[2,3]", "%i: i8[2,3]", "%u: u8[2,3]"
FILL = "dimensions = []"
CASES = {
    "select of truth": (P, f"""%a = constant true : bool[]
        %t = broadcast_in_dim %a, {FILL} : bool[2,3]
        %b = constant false : bool[]
        %f = broadcast_in_dim %b, {FILL} : bool[2,3]
        %r = select %p, %t, %f : bool[2,3]""", []),
    "select of falsehood": (P, f"""%a = constant true : bool[]
        %t = broadcast_in_dim %a, {FILL} : bool[2,3]
        %b = constant false : bool[]
        %f = broadcast_in_dim %b, {FILL} : bool[2,3]
        %r = select %p, %f, %t : bool[2,3]""", ["not"]),
    "not equal floats": (X, """%a = sine %x : f32[2,3]
        %b = compare %x, %a, direction = "EQ" : bool[2,3]
        %r = not %b : bool[2,3]""", ["sine", "compare"]),
    "not less floats": (X, """%a = sine %x : f32[2,3]
        %b = compare %x, %a, direction = "LT" : bool[2,3]
        %r = not %b : bool[2,3]""", ["sine", "compare", "not"]),
    "not less whole numbers": (N, """%a = negate %i : i8[2,3]
        %b = compare %i, %a, direction = "LT" : bool[2,3]
        %r = not %b : bool[2,3]""", ["negate", "compare"]),
    "and nothing": (N, f"""%a = constant 0 : i8[]
        %z = broadcast_in_dim %a, {FILL} : i8[2,3]
        %r = and %z, %i : i8[2,3]""", ["broadcast_in_dim"]),
    "or everything": (U, f"""%a = constant 255 : u8[]
        %z = broadcast_in_dim %a, {FILL} : u8[2,3]
        %r = or %u, %z : u8[2,3]""", ["broadcast_in_dim"]),
    "the least there is": (N, f"""%a = constant -128 : i8[]
        %z = broadcast_in_dim %a, {FILL} : i8[2,3]
        %r = minimum %i, %z : i8[2,3]""", ["broadcast_in_dim"]),
    "the least of floats": (X, f"""%a = constant -inf : f32[]
        %z = broadcast_in_dim %a, {FILL} : f32[2,3]
        %r = minimum %x, %z : f32[2,3]""", ["broadcast_in_dim", "minimum"]),
    "less itself": (N, "%r = subtract %i, %i : i8[2,3]", ["broadcast_in_dim"]),
    "less itself, floats": (X, "%r = subtract %x, %x : f32[2,3]", ["subtract"]),
    "remainder of one": (N, f"""%a = constant 1 : i8[]
        %z = broadcast_in_dim %a, {FILL} : i8[2,3]
        %r = remainder %i, %z : i8[2,3]""", ["broadcast_in_dim"]),
    "shift by nothing": (N, f"""%a = constant 0 : i8[]
        %z = broadcast_in_dim %a, {FILL} : i8[2,3]
        %r = shift_right_arithmetic %i, %z : i8[2,3]""", []),
    "two constants added": (N, f"""%a = constant 100 : i8[]
        %y = broadcast_in_dim %a, {FILL} : i8[2,3]
        %b = constant 90 : i8[]
        %z = broadcast_in_dim %b, {FILL} : i8[2,3]
        %c = add %i, %y : i8[2,3]
        %r = add %c, %z : i8[2,3]""", ["broadcast_in_dim", "add"]),
    "two constants added to floats": (X, f"""%a = constant 100.0 : f32[]
        %y = broadcast_in_dim %a, {FILL} : f32[2,3]
        %b = constant 0.1 : f32[]
        %z = broadcast_in_dim %b, {FILL} : f32[2,3]
        %c = add %x, %y : f32[2,3]
        %r = add %c, %z : f32[2,3]""", ["broadcast_in_dim", "broadcast_in_dim", "add", "add"]),
    "largest of two constants": (X, f"""%a = constant 1.0 : f32[]
        %y = broadcast_in_dim %a, {FILL} : f32[2,3]
        %b = constant 2.0 : f32[]
        %z = broadcast_in_dim %b, {FILL} : f32[2,3]
        %c = maximum %x, %y : f32[2,3]
        %r = maximum %c, %z : f32[2,3]""", ["broadcast_in_dim", "maximum"]),
    "times minus one": (X, f"""%a = constant -1.0 : f32[]
        %z = broadcast_in_dim %a, {FILL} : f32[2,3]
        %r = multiply %z, %x : f32[2,3]""", ["negate"]),
    "rounded twice": (X, """%a = ceil %x : f32[2,3]
        %r = round_nearest_even %a : f32[2,3]""", ["ceil"]),
    "rounded whole numbers": (N, """%a = convert %i : f32[2,3]
        %r = floor %a : f32[2,3]""", ["convert"]),
    "absolute value without a sign": (U, "%r = abs %u : u8[2,3]", []),
    "sign of a sign": (X, """%a = sign %x : f32[2,3]
        %r = sign %a : f32[2,3]""", ["sign"]),
    "slice of what is repeated": ("%y: f32[3]", """%a = broadcast_in_dim %y, dimensions = [1] : f32[4,3]
        %r = slice %a, start = [1, 0], limit = [4, 3], strides = [2, 1] : f32[2,3]""", ["broadcast_in_dim"]),
    "slice of what is not": ("%y: f32[3]", """%a = broadcast_in_dim %y, dimensions = [1] : f32[4,3]
        %r = slice %a, start = [1, 1], limit = [4, 3], strides = [1, 1] : f32[3,2]""", ["broadcast_in_dim", "slice"]),
    "slice of a pad": (X, """%z = constant 7.0 : f32[]
        %a = pad %x, %z, low = [2, -1], high = [1, 3], interior = [0, 0] : f32[5,5]
        %r = slice %a, start = [2, 0], limit = [4, 2], strides = [1, 1] : f32[2,2]""", ["slice"]),
    "slice of a pad's border": (X, """%z = constant 7.0 : f32[]
        %a = pad %x, %z, low = [2, 0], high = [1, 0], interior = [0, 0] : f32[5,3]
        %r = slice %a, start = [1, 0], limit = [4, 2], strides = [1, 1] : f32[3,2]""", ["pad", "slice"]),
    "pad of a pad": (X, """%z = constant 7.0 : f32[]
        %a = pad %x, %z, low = [2, 0], high = [1, 0], interior = [0, 0] : f32[5,3]
        %r = pad %a, %z, low = [0, 1], high = [1, 1], interior = [0, 0] : f32[6,5]""", ["pad"]),
    "pad that cuts": (X, """%z = constant 7.0 : f32[]
        %a = pad %x, %z, low = [2, 0], high = [1, 0], interior = [0, 0] : f32[5,3]
        %r = pad %a, %z, low = [-1, 0], high = [1, 0], interior = [0, 0] : f32[5,3]""", ["pad", "pad"]),
    "slices side by side": (X, """%a = slice %x, start = [0, 0], limit = [2, 1], strides = [1, 1] : f32[2,1]
        %b = slice %x, start = [0, 1], limit = [2, 3], strides = [1, 1] : f32[2,2]
        %r = concatenate %a, %b, dimension = 1 : f32[2,3]""", []),
    "slices the other way round": (X, """%a = slice %x, start = [0, 0], limit = [2, 1], strides = [1, 1] : f32[2,1]
        %b = slice %x, start = [0, 1], limit = [2, 3], strides = [1, 1] : f32[2,2]
        %r = concatenate %b, %a, dimension = 1 : f32[2,3]""", ["slice", "slice", "concatenate"]),
    "all of an array": (f"{X}, %k: i32[]", "%r = dynamic_slice %x, %k, %k, slice_sizes = [2, 3] : f32[2,3]", []),
    "all of an array replaced": (f"{X}, %y: f32[2,3], %k: i32[]",
                                 "%r = dynamic_update_slice %x, %y, %k, %k : f32[2,3]", []),
    "largest of the largest": (X, """%z = constant -inf : f32[]
        %a = reduce %x, init %z, maximum over [1] : f32[2]
        %r = reduce %a, init %z, maximum over [0] : f32[]""", ["reduce"]),
    "sum of sums": (N, """%z = constant 0 : i8[]
        %a = reduce %i, init %z, add over [0] : i8[3]
        %r = reduce %a, init %z, add over [0] : i8[]""", ["reduce"]),
    "sum of sums from another start": (N, """%z = constant 3 : i8[]
        %a = reduce %i, init %z, add over [0] : i8[3]
        %r = reduce %a, init %z, add over [0] : i8[]""", ["reduce", "reduce"]),
    "sum of sums of floats": (X, """%z = constant 0.0 : f32[]
        %a = reduce %x, init %z, add over [0] : f32[3]
        %r = reduce %a, init %z, add over [0] : f32[]""", ["reduce", "reduce"]),
}  # fmt: skip
FLOATS = (np.nan, -0.0, np.inf, -np.inf, 0.0, -1.5, 2.5, 0.5, -0.5, 3e38, 1e-45, 2.0)


def special(t: TensorType, turn: int) -> np.ndarray:
    """Values at which identities break: NaN, infinities, both zeros, halves; the least and the greatest of integers."""
    if t.dtype.is_float:
        values: tuple[float, ...] = FLOATS
    elif t.dtype.kind == "bool":
        values = (True, False, False, True, True)
    else:
        info = np.iinfo(t.dtype.numpy)
        values = (info.min, info.max, 0, 1, info.max - 1, 5, info.min + 1)
    return np.resize(np.roll(values, turn), t.shape).astype(t.dtype.numpy)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_identity(case: tuple[str, str, list[str]]) -> None:
    parameters, body, ops = case
    result = body.rsplit(" : ", 1)[1]
    graph = parse_graph(dedent(f"""
        graph @f({parameters}) -> ({result}) {{
        {body}
        return %r
        }}"""))  # fmt: skip
    after = simplify(graph)
    verify_graph(after)
    for turn in range(0, len(FLOATS), 5):
        arrays = [special(p.tensor, turn + k) for k, p in enumerate(graph.parameters)]
        with np.errstate(all="ignore"):
            (want,), (got,) = evaluate_graph(graph, arrays), evaluate_graph(after, arrays)
        np.testing.assert_array_equal(got, want)
        if want.dtype.kind == "f":
            np.testing.assert_array_equal(np.signbit(got[~np.isnan(got)]), np.signbit(want[~np.isnan(want)]))
    assert [n.op.name for n in after.nodes if n.op.name not in ("parameter", "constant")] == ops
