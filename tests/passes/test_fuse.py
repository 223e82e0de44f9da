"""fuse: which nodes share a region, and that the fused graph computes the same."""

from __future__ import annotations

from mlc.ir.graph import FUSION, Graph
from mlc.ir.graph.parser import parse_graph
from mlc.ir.graph.verify import verify_graph
from mlc.passes.decompose import decompose
from mlc.passes.fuse import fuse

from .check import check_golden, check_same_meaning, dedent

DOT = "lhs_contracting = [1], rhs_contracting = [0], lhs_batch = [], rhs_batch = []"


def fused(text: str) -> tuple[Graph, list[tuple[str, str, int]]]:
    graph = parse_graph(dedent(text))
    result = fuse(decompose(graph))
    verify_graph(result)
    check_same_meaning(graph, result)
    found = [n for n in result.nodes if n.op is FUSION]
    return result, [(n["kind"], n["body"].name, len(n["body"].results)) for n in found]


def test_bias_and_activation_follow_the_contraction_and_both_values_are_stored_once() -> None:
    check_golden(
        fuse,
        f"""
        graph @f(%x: f32[3,4], %w: f32[4,5], %b: f32[5]) -> (f32[3,5], f32[3,5]) {{
          %d = dot_general %x, %w, {DOT} : f32[3,5]
          %s = broadcast_in_dim %b, dimensions = [1] : f32[3,5]
          %a = add %d, %s : f32[3,5]
          %t = tanh %a : f32[3,5]
          return %a, %t
        }}""",
        f"""
        graph @f(%x: f32[3,4], %w: f32[4,5], %b: f32[5]) -> (f32[3,5], f32[3,5]) {{
          %3 = fusion %x, %w, %b, kind = "contraction", body = @dot_add_tanh(%0: f32[3,4], %1: f32[4,5], %2: f32[5]) -> (f32[3,5], f32[3,5]) {{
            %3 = dot_general %0, %1, {DOT} : f32[3,5]
            %4 = broadcast_in_dim %2, dimensions = [1] : f32[3,5]
            %5 = add %3, %4 : f32[3,5]
            %6 = tanh %5 : f32[3,5]
            return %5, %6
          }} : (f32[3,5], f32[3,5])
          %4 = get_tuple_element %3, index = 0 : f32[3,5]
          %5 = get_tuple_element %3, index = 1 : f32[3,5]
          return %4, %5
        }}""",
    )


def test_a_result_that_depends_on_a_reduction_of_the_contraction_is_not_pulled_into_it() -> None:
    """y = d * sum(d) reads d, but only after all of d was summed."""
    _, regions = fused(
        f"""
        graph @f(%x: f32[3,4], %w: f32[4,5]) -> (f32[3,5]) {{
          %d = dot_general %x, %w, {DOT} : f32[3,5]
          %z = constant 0.0 : f32[]
          %s = reduce %d, init %z, add over [0, 1] : f32[]
          %b = broadcast_in_dim %s, dimensions = [] : f32[3,5]
          %y = multiply %d, %b : f32[3,5]
          return %y
        }}"""
    )
    assert [kind for kind, _, _ in regions] == ["contraction", "row"]


def test_a_transposed_reader_is_not_pulled_into_the_contraction() -> None:
    _, regions = fused(
        f"""
        graph @f(%x: f32[4,4], %w: f32[4,4]) -> (f32[4,4]) {{
          %d = dot_general %x, %w, {DOT} : f32[4,4]
          %t = transpose %d, permutation = [1, 0] : f32[4,4]
          %y = add %d, %t : f32[4,4]
          return %y
        }}"""
    )
    assert [kind for kind, _, _ in regions] == ["contraction", "loop"]


def test_siblings_that_read_the_same_array_share_a_loop() -> None:
    _, regions = fused(
        """
        graph @f(%x: f32[7], %y: f32[7]) -> (f32[7], f32[7]) {
          %a = exponential %x : f32[7]
          %b = multiply %x, %y : f32[7]
          return %a, %b
        }"""
    )
    assert regions == [("loop", "exp_mul", 2)]


def test_sibling_reductions_share_a_pass_and_an_epilogue_follows() -> None:
    _, regions = fused(
        """
        graph @f(%x: f32[7,3]) -> (f32[7], f32[7]) {
          %z = constant 0.0 : f32[]
          %m = multiply %x, %x : f32[7,3]
          %a = reduce %x, init %z, add over [1] : f32[7]
          %b = reduce %m, init %z, add over [1] : f32[7]
          %c = sqrt %b : f32[7]
          return %a, %c
        }"""
    )
    assert [(kind, count) for kind, _, count in regions] == [("reduce", 2)]


def test_an_expensive_value_is_not_repeated_for_every_element_it_is_broadcast_to() -> None:
    _, regions = fused(
        """
        graph @f(%x: f32[7], %y: f32[7,9]) -> (f32[7,9]) {
          %e = exponential %x : f32[7]
          %b = broadcast_in_dim %e, dimensions = [0] : f32[7,9]
          %r = add %b, %y : f32[7,9]
          return %r
        }"""
    )
    assert [name for _, name, _ in regions] == ["exp", "add"]


NORM = """
        graph @f(%x: f32[7,9]) -> (f32[7,9]) {{
          %z = constant 0.0 : f32[]
          {source}
          %s = reduce %v, init %z, add over [0] : f32[9]
          %m = broadcast_in_dim %s, dimensions = [1] : f32[7,9]
          %d = subtract %v, %m : f32[7,9]
          %q = multiply %d, %d : f32[7,9]
          %t = reduce %q, init %z, add over [0] : f32[9]
          %n = broadcast_in_dim %t, dimensions = [1] : f32[7,9]
          %r = multiply %d, %n : f32[7,9]
          return %r
        }}"""


def test_a_cheap_value_is_computed_by_each_that_reads_it() -> None:
    """x - mean(x) is not stored: x is read instead, which is as large and there anyway."""
    _, regions = fused(NORM.format(source="").replace("%v", "%x"))
    assert [(kind, count) for kind, _, count in regions] == [("reduce", 1), ("reduce", 1), ("loop", 1)]


def test_an_expensive_value_is_stored_and_what_is_cheap_of_it_is_not() -> None:
    _, regions = fused(NORM.format(source="%v = exponential %x : f32[7,9]"))
    assert [(kind, name) for kind, name, _ in regions] == [
        ("loop", "exp"), ("reduce", "reduce_add"), ("reduce", "reduce_add_sub_mul"), ("loop", "sub_mul"),
    ]  # fmt: skip


def test_a_mask_is_computed_again_from_parameters_only() -> None:
    """One byte an element is less than the four of what it is of, where that need not be kept."""
    text = """
        graph @f(%x: f32[7,9], %y: f32[7,9]) -> (f32[9], f32[7,9]) {{
          %z = constant 0.0 : f32[]
          %b = broadcast_in_dim %z, dimensions = [] : f32[7,9]
          {source}
          %p = compare %v, %b, direction = "GT" : bool[7,9]
          %a = select %p, %y, %b : f32[7,9]
          %s = reduce %a, init %z, add over [0] : f32[9]
          %m = broadcast_in_dim %s, dimensions = [1] : f32[7,9]
          %r = select %p, %m, %b : f32[7,9]
          return %s, %r
        }}"""
    _, regions = fused(text.format(source="%v = negate %x : f32[7,9]"))
    assert [kind for kind, _, _ in regions] == ["reduce", "loop"]
    _, regions = fused(text.format(source="%v = tanh %x : f32[7,9]"))
    assert next((kind, name) for kind, name, _ in regions) == ("loop", "tanh_compare")


def test_a_slice_is_read_by_each_region_where_it_is() -> None:
    _, regions = fused(
        """
        graph @f(%x: f32[6,4]) -> (f32[3,4], f32[5,4]) {
          %s = slice %x, start = [1, 0], limit = [6, 4], strides = [2, 1] : f32[3,4]
          %t = tanh %s : f32[3,4]
          %z = constant 0.0 : f32[]
          %p = pad %s, %z, low = [1, 0], high = [1, 0], interior = [0, 0] : f32[5,4]
          %r = tanh %p : f32[5,4]
          return %t, %r
        }"""
    )
    assert [results for _, _, results in regions] == [1, 1]


def test_views_stay_outside_and_symbolic_sizes_fuse() -> None:
    result, regions = fused(
        """
        graph @f(%x: f32[n,4]) -> (f32[4*n]) where n in 1..9 {
          %e = exponential %x : f32[n,4]
          %v = reshape %e : f32[4*n]
          %r = negate %v : f32[4*n]
          return %r
        }"""
    )
    assert [name for _, name, _ in regions] == ["exp", "negate"]
    assert [n.op.name for n in result.nodes].count("reshape") == 1


def test_equal_layers_have_equal_bodies() -> None:
    result, _ = fused(
        f"""
        graph @f(%x: f32[3,4], %w: f32[4,4], %v: f32[4,4]) -> (f32[3,4]) {{
          %d = dot_general %x, %w, {DOT} : f32[3,4]
          %t = tanh %d : f32[3,4]
          %e = dot_general %t, %v, {DOT} : f32[3,4]
          %u = tanh %e : f32[3,4]
          return %u
        }}"""
    )
    assert len({n["body"].fingerprint for n in result.nodes if n.op is FUSION}) == 1


def test_a_contraction_stores_its_result_as_a_transpose_wants_it() -> None:
    """Heads of an attention are written side by side: no loop only moves them."""
    text = """
        graph @f(%x: f32[2,4,8,8], %v: f32[2,8,4,16]) -> (f32[2,8,4,16]) {
          %0 = dot_general %x, %v, lhs_contracting = [3], rhs_contracting = [1], lhs_batch = [0, 1], rhs_batch = [0, 2] : f32[2,4,8,16]
          %1 = transpose %0, permutation = PERMUTATION : f32[2,8,4,16]
          return %1
        }"""
    graph = parse_graph(dedent(text.replace("PERMUTATION", "[0, 2, 1, 3]")))
    fused = fuse(graph)
    assert [n["kind"] for n in fused.nodes if n.op is FUSION] == ["contraction"]
    check_same_meaning(graph, fused)
    both = graph.with_results([*graph.results, graph.results[0].operands[0]])
    assert [n["kind"] for n in fuse(both).nodes if n.op is FUSION] == ["contraction", "loop"]
