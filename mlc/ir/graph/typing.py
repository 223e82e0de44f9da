"""Type rules shared by many ops, and the words of their errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...errors import DTypeError, ShapeError
from ..types import BOOL, DType, TensorType, ValueType

TypeRule = Callable[[Sequence[ValueType], dict[str, Any]], ValueType]


def tensor(name: str, operand: ValueType, what: str = "operand") -> TensorType:
    if not isinstance(operand, TensorType):
        raise DTypeError(f"{name}: {what} is a {operand}, not a tensor")
    return operand


def elementwise(name: str, kinds: Sequence[str] = ("float", "int", "uint", "bool")) -> TypeRule:
    """All operands have one type, which is the result's; ``kinds`` are the element kinds allowed."""

    def infer(operands: Sequence[ValueType], attributes: dict[str, Any]) -> TensorType:
        first = same_types(name, operands)
        require_kind(name, first, kinds)
        return first

    return infer


def predicate(name: str, kinds: Sequence[str] = ("float", "int", "uint", "bool")) -> TypeRule:
    """As elementwise, with a bool result."""
    rule = elementwise(name, kinds)
    return lambda operands, attributes: tensor(name, rule(operands, attributes)).with_dtype(BOOL)


def same_types(name: str, operands: Sequence[ValueType]) -> TensorType:
    first = tensor(name, operands[0])
    for other in (tensor(name, o) for o in operands[1:]):
        if other.dtype != first.dtype:
            raise DTypeError(
                f"{name}: element types differ: lhs is {first}, rhs is {other}",
                hint=f"convert one of them, for example with .astype({first.dtype.name!r})",
            )
        if other.shape != first.shape:
            raise ShapeError(f"{name}: shapes differ: lhs is {first}, rhs is {other}{axis_words(first, other)}")
    return first


def axis_words(lhs: TensorType, rhs: TensorType) -> str:
    """`; axis 1 has 3 and 4`, or the ranks where those differ."""
    if lhs.rank != rhs.rank:
        return f"; ranks {lhs.rank} and {rhs.rank}"
    axis = next(i for i, (a, b) in enumerate(zip(lhs.shape, rhs.shape, strict=True)) if a != b)
    return f"; axis {axis} has {lhs.shape[axis]} and {rhs.shape[axis]}"


def require_kind(name: str, operand: TensorType, kinds: Sequence[str]) -> None:
    if operand.dtype.kind not in kinds:
        words = {"float": "floating-point", "int": "signed", "uint": "unsigned", "bool": "bool"}
        raise DTypeError(f"{name}: operand is {operand}; it takes {' or '.join(words[k] for k in kinds)} elements")


def require_axes(name: str, axes: Sequence[int], rank: int, what: str) -> None:
    """Axes are distinct and inside the rank."""
    if len(set(axes)) != len(axes) or any(not 0 <= a < rank for a in axes):
        raise ShapeError(f"{name}: {what} {list(axes)} are not distinct axes of rank {rank}")


def require_dtype(name: str, operand: TensorType, dtype: DType, what: str) -> None:
    if operand.dtype != dtype:
        raise DTypeError(f"{name}: {what} is {operand}; it must be {dtype.name}")
