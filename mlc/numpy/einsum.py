"""einsum: sums of products by letters, as sums, one dot_general a pair of operands, and a transpose."""

from __future__ import annotations

from mlc.errors import ArgumentError, ShapeError, UnsupportedError
from mlc.ir.graph import dot_general, reduce_add
from mlc.ir.graph.node import Node
from mlc.tracing.lift import as_node, describe
from mlc.tracing.tracer import Tracer

from .dispatch import operation
from .manipulation import transpose_node
from .promotion import common, wrap

Term = tuple[str, Node]  # one letter an axis


def einsum(subscripts: str, /, *operands: object) -> Tracer:
    """``einsum("bij,bjk->bik", x, y)``: the sum over letters that are not in the result; operands are joined in order.

    Raises ArgumentError for subscripts that do not parse or fit, ShapeError where sizes differ, UnsupportedError for
    ``...`` and for a letter twice in one operand.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.einsum("ij,j->i", mnp.asarray([[1, 2], [3, 4]]), mnp.asarray([1, 1])).tolist()
        [3, 7]
    """
    return _einsum(operands, subscripts)


@operation("operands")
def _einsum(operands: tuple[object, ...], subscripts: str) -> Tracer:
    inputs, output = _parse(subscripts, len(operands))
    dtype, _ = common("einsum", [describe(x, "einsum: operand") for x in operands])
    terms = [(letters, as_node(x, dtype)) for letters, x in zip(inputs, operands, strict=True)]
    for letters, node in terms:
        if len(letters) != len(node.shape):
            raise ShapeError(
                f"einsum: operand {node.type} has {len(node.shape)} axes; {letters!r} names {len(letters)}"
            )
    done = terms[0]
    for i, term in enumerate(terms[1:], start=1):
        later = set(output).union(*[letters for letters, _ in terms[i + 1 :]])
        done = _join(_sum_out(done, later | set(term[0])), _sum_out(term, later | set(done[0])), later)
    letters, node = _sum_out(done, set(output))
    return wrap(transpose_node(node, tuple(letters.index(c) for c in output)))


def _parse(subscripts: str, count: int) -> tuple[list[str], str]:
    text = subscripts.replace(" ", "")
    if "..." in text:
        raise UnsupportedError(f"einsum: {subscripts!r}: ... is not supported", hint="name every axis by a letter")
    left, arrow, output = text.partition("->")
    inputs = left.split(",")
    letters = "".join(inputs)
    if not arrow:
        output = "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    if not all(c.isascii() and c.isalpha() for c in letters + output):
        raise ArgumentError(f"einsum: {subscripts!r} does not parse; it looks like 'ij,jk->ik'")
    if len(inputs) != count:
        raise ArgumentError(f"einsum: {subscripts!r} names {len(inputs)} operands; {count} were given")
    if len(set(output)) != len(output) or not set(output) <= set(letters):
        raise ArgumentError(f"einsum: {subscripts!r}: each letter of the result is there once and in an operand")
    for one in inputs:
        if len(set(one)) != len(one):
            raise UnsupportedError(f"einsum: {subscripts!r}: a letter twice in {one!r} (a diagonal) is not supported")
    return inputs, output


def _sum_out(term: Term, kept: set[str]) -> Term:
    """Without the axes whose letter nothing else uses."""
    letters, node = term
    gone = tuple(i for i, c in enumerate(letters) if c not in kept)
    return "".join(c for c in letters if c in kept), reduce_add(node, gone)


def _join(lhs: Term, rhs: Term, kept: set[str]) -> Term:
    (left, x), (right, y) = lhs, rhs
    shared = [c for c in left if c in right]
    for c in shared:
        i, j = left.index(c), right.index(c)
        if x.shape[i] != y.shape[j]:
            raise ShapeError(
                f"einsum: sizes of {c!r} differ: lhs {left!r} is {x.type}, rhs {right!r} is {y.type};\n"
                f"lhs axis {i} has {x.shape[i]}, rhs axis {j} has {y.shape[j]}",
                hint="axes with one letter have one size",
            )
    batch = [c for c in shared if c in kept]
    summed = [c for c in shared if c not in kept]
    result = batch + [c for c in left if c not in shared] + [c for c in right if c not in shared]
    product = dot_general(
        x, y, [left.index(c) for c in summed], [right.index(c) for c in summed],
        [left.index(c) for c in batch], [right.index(c) for c in batch],
    )  # fmt: skip
    return "".join(result), product
