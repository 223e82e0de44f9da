"""Which values have tangents."""

from __future__ import annotations

from ..ir.graph import Node
from ..ir.types import TensorType


def is_differentiable(node: Node) -> bool:
    """Whether values of the node's type have tangents: tensors of floats do, integers, bools and tuples do not."""
    return isinstance(node.type, TensorType) and node.type.dtype.is_float
