"""The signature of an exported function: what the manifest, the header and the entry in C all say about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlc.artifact.names import c_identifier, distinct
from mlc.artifact.structure import Json

if TYPE_CHECKING:
    from mlc.ir.dims import Symbol
    from mlc.ir.plan import Plan
    from mlc.ir.types import TensorType


@dataclass(frozen=True, slots=True)
class Leaf:
    """One array that goes in or comes out; ``c_name`` is its parameter in C."""

    name: str
    type: TensorType
    c_name: str
    donated: bool = False


@dataclass(frozen=True, slots=True)
class Signature:
    """The symbols, inputs and outputs of one function in the order of its Plan, and the trees they form in Python.

    ``arguments`` maps each argument to the structure of its leaves, ``result`` is the structure of the outputs.
    Prints as ``predict(x: f32[batch,784]) -> (probs: f32[batch,10]), batch in 1..64``.
    """

    name: str
    symbols: tuple[Symbol, ...]
    symbol_c_names: tuple[str, ...]
    inputs: tuple[Leaf, ...]
    outputs: tuple[Leaf, ...]
    arguments: dict[str, Json]
    result: Json

    def __str__(self) -> str:
        inputs = ", ".join(f"{leaf.name}: {leaf.type}" for leaf in self.inputs)
        outputs = ", ".join(f"{leaf.name}: {leaf.type}" for leaf in self.outputs)
        bounds = "".join(f", {s.name} in {s.lower}..{s.upper}" for s in self.symbols)
        return f"{self.name}({inputs}) -> ({outputs}){bounds}"


def signature_of(name: str, plan: Plan, arguments: dict[str, Json], result: Json) -> Signature:
    """The signature of the function `name` that `plan` computes."""
    symbols = distinct((c_identifier(s.name) for s in plan.symbols), taken=["context"])
    inputs = distinct((c_identifier(i.name) for i in plan.inputs), taken=["context", *symbols])
    outputs = distinct((c_identifier(o.name) for o in plan.outputs), taken=["context", *symbols, *inputs])
    return Signature(
        name,
        tuple(plan.symbols),
        tuple(symbols),
        tuple(Leaf(i.name, i.type, c, i.donated_to is not None) for i, c in zip(plan.inputs, inputs, strict=True)),
        tuple(Leaf(o.name, o.type, c) for o, c in zip(plan.outputs, outputs, strict=True)),
        arguments,
        result,
    )


def to_json(signature: Signature) -> Json:
    """What the manifest says about a function."""
    return {
        "name": signature.name,
        "text": str(signature),
        "symbols": [{"name": s.name, "lower": s.lower, "upper": s.upper} for s in signature.symbols],
        "inputs": _leaves_to_json(signature.inputs),
        "outputs": _leaves_to_json(signature.outputs),
        "arguments": signature.arguments,
        "result": signature.result,
    }


def _leaves_to_json(leaves: Sequence[Leaf]) -> Json:
    return [
        {
            "name": leaf.name,
            "dtype": leaf.type.dtype.name,
            "shape": [n if isinstance(n, int) else str(n) for n in leaf.type.shape],
        }
        for leaf in leaves
    ]
