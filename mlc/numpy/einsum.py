"""einsum: sums of products by letters, as diagonals, sums, one dot_general a pair of operands, and a transpose."""

from __future__ import annotations

from collections.abc import Sequence

from mlc.errors import ArgumentError, ShapeError
from mlc.ir.dims import Size
from mlc.ir.graph import COMPARE, IOTA, SELECT, SLICE, dot_general, fill, reduce_add, reshape
from mlc.ir.graph.node import Node
from mlc.ir.types import I64, TensorType
from mlc.tracing.lift import as_node, describe
from mlc.tracing.tracer import Tracer

from .dispatch import operation
from .manipulation import transpose_node
from .promotion import common, wrap

Term = tuple[str, Node]  # one letter an axis
MORE = "\u0100"  # the letter of the last axis that a ... stands for; those before it have the next ones


def einsum(subscripts: str, /, *operands: object) -> Tracer:
    """``einsum("bij,bjk->bik", x, y)``: the sum over letters that are not in the result; operands are joined in order.

    A letter twice in one operand takes its diagonal; ``...`` stands for the axes that letters leave, which broadcast.
    Raises ArgumentError for subscripts that do not parse or fit, ShapeError where sizes differ.

    Example:
        >>> import mlc.numpy as mnp
        >>> mnp.einsum("ij,j->i", mnp.asarray([[1, 2], [3, 4]]), mnp.asarray([1, 1])).tolist()
        [3, 7]
        >>> mnp.einsum("...ii->...", mnp.asarray([[1, 2], [3, 4]])).tolist()
        5
    """
    return _einsum(operands, subscripts)


@operation("operands")
def _einsum(operands: tuple[object, ...], subscripts: str) -> Tracer:
    described = [describe(x, "einsum: operand") for x in operands]
    inputs, output = _parse(subscripts, [type for type, _ in described])
    dtype, _ = common("einsum", described)
    terms = [_diagonal(letters, as_node(x, dtype)) for letters, x in zip(inputs, operands, strict=True)]
    terms = _broadcast(terms)
    done = terms[0]
    for i, term in enumerate(terms[1:], start=1):
        later = set(output).union(*[letters for letters, _ in terms[i + 1 :]])
        done = _join(_sum_out(done, later | set(term[0])), _sum_out(term, later | set(done[0])), later)
    letters, node = _sum_out(done, set(output))
    return wrap(transpose_node(node, tuple(letters.index(c) for c in output)))


def _parse(subscripts: str, operands: Sequence[TensorType]) -> tuple[list[str], str]:
    """The letters of each operand's axes and of the result's; those of ``...`` are from ``MORE`` on, the last first."""
    text = subscripts.replace(" ", "")
    left, arrow, output = text.partition("->")
    inputs = left.split(",")
    if not all(_is_term(one) for one in (*inputs, output)):
        raise ArgumentError(f"einsum: {subscripts!r} does not parse; it looks like 'ij,jk->ik' or '...ij,jk->...ik'")
    if len(inputs) != len(operands):
        raise ArgumentError(f"einsum: {subscripts!r} names {len(inputs)} operands; {len(operands)} were given")
    spelled = [_spell_out(one, type) for one, type in zip(inputs, operands, strict=True)]
    letters = "".join(spelled)
    more = "".join(sorted({c for c in letters if c >= MORE}, reverse=True))
    if not arrow:
        output = "..." + "".join(sorted(c for c in set(letters) if letters.count(c) == 1 and c < MORE))
    elif more and "..." not in output:
        raise ArgumentError(f"einsum: {subscripts!r}: ... stands for axes that the result does not have",
                            hint="give the result ... too, or name the axes that are to be summed")  # fmt: skip
    output = output.replace("...", more)
    if len(set(output)) != len(output) or not set(output) <= set(letters):
        raise ArgumentError(f"einsum: {subscripts!r}: each letter of the result is there once and in an operand")
    return spelled, output


def _is_term(text: str) -> bool:
    plain = text.replace("...", "", 1)
    return all(c.isascii() and c.isalpha() for c in plain)


def _spell_out(term: str, type: TensorType) -> str:
    """A letter for every axis."""
    named = len(term.replace("...", ""))
    if named > type.rank or ("..." not in term and named < type.rank):
        raise ShapeError(f"einsum: operand {type} has {type.rank} axes; {term!r} names {named}")
    return term.replace("...", "".join(chr(ord(MORE) + k) for k in reversed(range(type.rank - named))))


def _diagonal(letters: str, node: Node) -> Term:
    """Every letter once: of two axes with the same one, the elements where both indices are equal."""
    while len(set(letters)) != len(letters):
        twice = next(c for c in letters if letters.count(c) > 1)
        i = letters.index(twice)
        j = letters.index(twice, i + 1)
        n = node.shape[i]
        if n != node.shape[j]:
            raise ShapeError(f"einsum: sizes of {twice!r} differ: operand {node.type} has {n} along axis {i} and "
                             f"{node.shape[j]} along axis {j}", hint="a diagonal is of a square")  # fmt: skip
        kept = [k for k in range(len(letters)) if k not in (i, j)]
        node = transpose_node(node, (*kept, i, j))
        rest = node.shape[:-2]
        if isinstance(n, int):  # every n + 1st element of the rows behind one another
            steps = (1,) * len(rest)
            node = reshape(node, (*rest, n * n))
            node = SLICE(node, start=(0,) * len(node.shape), limit=node.shape, strides=(*steps, n + 1))
        else:
            row, column = (IOTA(shape=node.shape, dtype=I64, dimension=len(rest) + k) for k in (0, 1))
            equal = COMPARE(row, column, direction="EQ")
            node = reduce_add(SELECT(equal, node, fill(0.0, node.tensor)), (len(rest) + 1,))
        letters = "".join(letters[k] for k in kept) + twice
    return letters, node


def _broadcast(terms: list[Term]) -> list[Term]:
    """Without the axes of ``...`` that have size 1 where another operand has more."""
    sizes: dict[str, set[Size]] = {}
    for letters, node in terms:
        for c, n in zip(letters, node.shape, strict=True):
            sizes.setdefault(c, set()).add(n)
    found = []
    for letters, node in terms:
        stretched = {i for i, c in enumerate(letters) if c >= MORE and node.shape[i] == 1 and len(sizes[c]) > 1}
        kept = [i for i in range(len(letters)) if i not in stretched]
        found.append(("".join(letters[i] for i in kept), reshape(node, tuple(node.shape[i] for i in kept))))
    return found


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
