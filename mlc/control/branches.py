"""cond and switch: one of several functions, chosen when the program runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..errors import ArgumentError, DTypeError, ShapeError
from ..ir.graph import CASE, CLAMP, COMPARE, CONVERT, Node, constant, full_like, results_of
from ..ir.types import BOOL, I32
from ..tracing import Traced, Tracer, as_tracer, user_location
from ..transforms.call import at_users_line
from .region import (
    anywhere,
    as_here,
    convert_results,
    differing,
    line_of,
    same_structure,
    trace_region,
    tracers_of,
    union_of_captured,
    with_parameters,
    wrap,
)


def cond(pred: Any, true_fun: Callable[..., Any], false_fun: Callable[..., Any], *operands: Any) -> Any:
    """``true_fun(*operands)`` where ``pred``, a bool, is true (or a number, not 0), else ``false_fun(*operands)``; only
    that one runs.

    Both give trees of the same structure, shapes and dtypes, and may use values of the function around them.
    Derivatives are those of the branch taken. ``mlc.numpy.where`` chooses element by element instead.

    Raises ArgumentError, DTypeError or ShapeError where the branches give different trees or types.

    Example:
        >>> import mlc
        >>> float(mlc.cond(True, lambda x: x + 1, lambda x: x * 10, 5.0))
        6.0
    """
    return anywhere("cond", _cond, pred, *operands, functions=(false_fun, true_fun))


def switch(index: Any, branches: Sequence[Callable[..., Any]], *operands: Any) -> Any:
    """``branches[index](*operands)``; an index below 0 takes the first, one too large the last.

    ``index`` is one integer; otherwise as ``cond``.

    Example:
        >>> import mlc
        >>> float(mlc.switch(1, [lambda x: x, lambda x: -x, lambda x: x * x], 3.0))
        -3.0
    """
    functions = tuple(branches)
    if not functions:
        raise ArgumentError("switch: branches is empty", location=str(user_location()))
    return anywhere("switch", _switch, index, *operands, functions=functions)


def _cond(pred: Any, *operands: Any, functions: tuple[Callable[..., Any], ...]) -> Any:
    with at_users_line():
        test = as_tracer(pred, name="cond: pred")
        if test.shape != ():
            raise DTypeError(
                f"cond: pred is {test.node.type}, not one bool or number", location=str(user_location()),
                hint="compare, or reduce with mlc.numpy.any or all; mlc.numpy.where chooses for each element",
            )  # fmt: skip
        node = test.node
        if node.dtype != BOOL:
            node = COMPARE(node, full_like(node, 0), direction="NE")
        return _choose("cond", CONVERT(node, dtype=I32), functions, ("false_fun", "true_fun"), operands)


def _switch(index: Any, *operands: Any, functions: tuple[Callable[..., Any], ...]) -> Any:
    with at_users_line():
        number = as_tracer(index, name="switch: index")
        if not number.dtype.is_integer or number.shape != ():
            raise DTypeError(f"switch: index is {number.node.type}, not one integer", location=str(user_location()))
        low, high = (constant(n, number.dtype) for n in (0, len(functions) - 1))
        node = CLAMP(low, number.node, high)
        node = node if node.dtype == I32 else CONVERT(node, dtype=I32)
        return _choose("switch", node, functions, tuple(f"branch {i}" for i in range(len(functions))), operands)


def _choose(
    what: str, index: Node, functions: Sequence[Callable[..., Any]], names: Sequence[str], operands: Sequence[Any]
) -> Any:
    given = [tracers_of(x, f"{what}: operand {i}") for i, x in enumerate(operands)]
    regions = _agree(
        what, [trace_region(f, given, f"{what}: {n}") for f, n in zip(functions, names, strict=True)], names
    )
    first = regions[0]
    from .. import tree

    leaves: list[Tracer] = tree.flatten(tuple(given))[0]
    captured = union_of_captured(regions)
    if not first.graph.results:
        return wrap([], first.out_tree, [])
    graphs = tuple(with_parameters(r, captured, f"branch{i}") for i, r in enumerate(regions))
    made = CASE(index, *(x.node for x in leaves), *as_here(captured), branches=graphs)
    weak = [all(r.out_weak[k] for r in regions) for k in range(len(first.out_weak))]
    return wrap(results_of(made), first.out_tree, weak)


def _agree(what: str, regions: Sequence[Traced], names: Sequence[str]) -> list[Traced]:
    """The branches with results of the same types: weak numbers take the element type of the branch that is sure."""
    first = regions[0]
    for region, name in zip(regions[1:], names[1:], strict=True):
        same_structure(f"{what}: {names[0]} and {name} give different trees", first.out_tree, region.out_tree)
    dtypes = []
    for k in range(len(first.out_types)):
        sure = [r for r in regions if not r.out_weak[k]]
        dtypes.append((sure or regions)[0].out_types[k].dtype)
    found = [
        convert_results(r, [d if w else t.dtype for d, w, t in zip(dtypes, r.out_weak, r.out_types, strict=True)])
        for r in regions
    ]
    for region, name in zip(found[1:], names[1:], strict=True):
        for k, (one, other) in enumerate(zip(found[0].out_types, region.out_types, strict=True)):
            if one != other:
                kind = DTypeError if one.dtype != other.dtype else ShapeError
                words = f"{what}: result {k} of {names[0]} and of {name} differ"
                raise differing(kind, words, one, other, line_of(region, k))
    return found
