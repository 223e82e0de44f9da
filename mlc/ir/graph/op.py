"""The op table: one row an op says how it is typed, what it means, how it differentiates and what it costs.

Names and semantics are StableHLO's (https://openxla.org/stablehlo/spec). Calling a row builds a node in the active
table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import DifferentiationError, MlcError
from ..dims import Size
from ..types import BF16, DType, TensorType, ValueType
from .node import Node, current_table

Array = npt.NDArray[Any]

# infer(operand types, attributes) -> result type; raises ShapeError / DTypeError with a message that names both types
Infer = Callable[..., ValueType]
# evaluate(node, concrete result shape, *operand arrays) -> array (or tuple of arrays for a TupleType)
Evaluate = Callable[..., Any]
# one rule an operand: rule(tangent, node) -> that operand's share of the result's tangent; linear in tangent.
# None: the result does not depend on that operand differentiably.
TangentRule = Callable[[Node, Node], Node] | None
# transpose(cotangent, node, linear) -> one cotangent an operand (None where linear[i] is False)
Transpose = Callable[[Node, Node, tuple[bool, ...]], Sequence[Node | None]]


@dataclass(frozen=True, slots=True, eq=False)
class Op:
    """A row of the op table."""

    name: str
    arity: int | None  # None: any number of operands
    attributes: tuple[str, ...]
    infer: Infer
    evaluate: Evaluate
    jvp: tuple[TangentRule, ...] | Callable[[Node, Sequence[Node | None]], Node | None] | None
    transpose: Transpose | None
    flops: Callable[[Node], Size]
    elementwise: bool = False
    commutative: bool = False
    effect: bool = False
    traits: frozenset[str] = field(default_factory=frozenset)

    def __call__(self, *operands: Node, **attributes: Any) -> Node:
        """Build (or find) the node; raises the typed error of the row at the user's current line."""
        table = current_table()
        try:
            result_type = self.result_type(operands, attributes)
        except MlcError as error:
            if error.location is None and table.current:
                error.location = str(table.current[0])
            raise
        return table.make(self, operands, result_type, attributes)

    def result_type(self, operands: Sequence[Node], attributes: dict[str, Any]) -> ValueType:
        """Apply the type rule; raises MlcError for a wrong number of operands or unknown attributes, too."""
        if self.arity is not None and len(operands) != self.arity:
            raise MlcError(f"{self.name}: takes {self.arity} operands, was given {len(operands)}")
        if set(attributes) != set(self.attributes):
            raise MlcError(f"{self.name}: has attributes {sorted(self.attributes)}, was given {sorted(attributes)}")
        return self.infer([o.type for o in operands], attributes)

    def __repr__(self) -> str:
        return f"<op {self.name}>"


OPS: dict[str, Op] = {}


def declare(
    name: str,
    *,
    operands: int | None,
    infer: Infer,
    evaluate: Evaluate,
    jvp: tuple[TangentRule, ...] | Callable[[Node, Sequence[Node | None]], Node | None] | None,
    flops: Callable[[Node], Size],
    attributes: Sequence[str] = (),
    transpose: Transpose | None = None,
    elementwise: bool = False,
    commutative: bool = False,
    effect: bool = False,
) -> Op:
    """Add a row to the table. ``jvp=None`` says that the op is not differentiable (its result has no tangent)."""
    if name in OPS:
        raise ValueError(f"op {name} is declared twice")
    if isinstance(jvp, tuple) and operands is not None and len(jvp) != operands:
        raise ValueError(f"op {name} has {operands} operands and {len(jvp)} tangent rules")
    op = Op(name, operands, tuple(attributes), infer, evaluate, jvp, transpose, flops, elementwise, commutative, effect)
    OPS[name] = op
    return op


def per_element(count: int) -> Callable[[Node], Size]:
    """Cost rule: ``count`` floating-point operations for each element of the result."""
    return lambda node: node.type.size * count if isinstance(node.type, TensorType) else 0


def no_flops(node: Node) -> Size:
    """Cost rule of ops that only move or make data."""
    return 0


def refuse(message: str) -> Callable[[Node, Node], Node]:
    """Tangent rule of an op that has a derivative which mlc cannot give."""

    def rule(tangent: Node, node: Node) -> Node:
        raise DifferentiationError(f"{node.op.name}: {message}")

    return rule


def dtype_cast(array: Any, node: Node) -> Array:
    """``array`` in the node's element type, floats rounded once."""
    return round_to(np.asarray(array), node.dtype)


def round_to(array: Array, dtype: DType) -> Array:
    """Cast with one rounding; f64 to bf16 is rounded to odd in f32 first, since ml_dtypes would round there to nearest.

    A value rounded to odd keeps which side of a tie it was on (Boldo and Melquiond 2008, "Emulation of FMA and
    correctly rounded sums").
    """
    if dtype != BF16 or array.dtype.itemsize <= 4 or array.dtype.kind not in "fiu":
        return array.astype(dtype.numpy)
    exact = array.astype(np.float64)
    with np.errstate(all="ignore"):
        near = exact.astype(np.float32)
        bits = near.view(np.uint32) - (np.abs(near.astype(np.float64)) > np.abs(exact))  # toward zero
        odd = bits | ((near != exact) & np.isfinite(exact))
    result: Array = odd.astype(np.uint32).view(np.float32).astype(dtype.numpy)
    return result
