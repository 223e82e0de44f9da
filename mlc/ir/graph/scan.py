"""scan: a composite that runs a body over the first axis of arrays, carrying values from one slice to the next.

Its body takes constants, carried values and slices, and gives the next carried values and slices of the results; the
decomposition is a while over dynamic_slice and dynamic_update_slice, so that a scan of any length is one loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..dims import Size
from ..types import TensorType
from .control import WHILE
from .dynamic import DYNAMIC_SLICE, DYNAMIC_UPDATE_SLICE
from .elementwise import ADD, COMPARE, SUBTRACT
from .node import Graph, Node, Table
from .shape import constant, fill, reshape, size_value
from .structure import COMPOSITE, inline, results_of

NAME = "scan"


@dataclass(frozen=True, slots=True)
class Scan:
    """What a scan is but for its operands, which are ``consts`` constants, ``carries`` first values, and arrays.

    ``body`` runs ``length`` times, from the last slice to the first where ``reverse``.
    """

    body: Graph
    length: Size
    reverse: bool
    consts: int
    carries: int

    @staticmethod
    def of(node: Node) -> Scan:
        o = node["options"]
        return Scan(o["body"], o["length"], o["reverse"], o["consts"], o["carries"])

    def split(self, values: Sequence[Node]) -> tuple[list[Node], list[Node], list[Node]]:
        """Operands or the body's parameters as constants, carried values and slices."""
        k, c = self.consts, self.consts + self.carries
        return list(values[:k]), list(values[k:c]), list(values[c:])

    def __call__(self, operands: Sequence[Node]) -> tuple[Node, ...]:
        """The results in the active table: the last carried values, and the arrays of the others."""
        options = {
            "body": self.body, "length": self.length, "reverse": self.reverse, "consts": self.consts,
            "carries": self.carries,
        }  # fmt: skip
        made = COMPOSITE(*operands, name=NAME, decomposition=self.decompose(operands), options=options)
        return results_of(made)

    def decompose(self, operands: Sequence[Node]) -> Graph:
        """The scan as a while."""
        table = Table()
        with table.active():
            parameters = [table.parameter(o.type) for o in operands]
            consts, carries, arrays = self.split(parameters)
            stacks = [fill(0, TensorType((self.length, *r.shape), r.dtype)) for r in self.body.results[self.carries :]]
            if self.length == 0:  # there is no slice to take the shape of
                return Graph(NAME, parameters, [*carries, *stacks], table)
            values = [constant(np.int64(0)), *consts, *carries, *arrays, *stacks]
            loop = results_of(WHILE(*values, cond=self._condition(values), body=self._trip(values)))
            first = 1 + self.consts
            results = [*loop[first : first + self.carries], *loop[len(loop) - len(stacks) :]]
        return Graph(NAME, parameters, results, table)

    def _condition(self, values: Sequence[Node]) -> Graph:
        table = Table()
        with table.active():
            parameters = [table.parameter(v.type) for v in values]
            test = COMPARE(parameters[0], size_value(self.length), direction="LT")
        return Graph("cond", parameters, [test], table)

    def _trip(self, values: Sequence[Node]) -> Graph:
        """One trip of the while: slices in, the body, slices out."""
        table = Table()
        with table.active():
            i, *rest = parameters = [table.parameter(v.type) for v in values]
            count = len(self.body.parameters)
            consts, carries, arrays = self.split(rest[:count])
            one = constant(np.int64(1))
            at = SUBTRACT(SUBTRACT(size_value(self.length), one), i) if self.reverse else i
            slices = [slice_at(x, at) for x in arrays]
            results = inline(self.body, [*consts, *carries, *slices])
            stacks = [put_at(stack, y, at) for stack, y in zip(rest[count:], results[self.carries :], strict=True)]
            following = [ADD(i, one), *consts, *results[: self.carries], *arrays, *stacks]
        return Graph("body", parameters, following, table)


def slice_at(x: Node, i: Node) -> Node:
    """x[i]."""
    zeros = [constant(np.int64(0))] * (len(x.shape) - 1)
    return reshape(DYNAMIC_SLICE(x, i, *zeros, slice_sizes=(1, *x.shape[1:])), x.shape[1:])


def put_at(stack: Node, y: Node, i: Node) -> Node:
    """``stack`` with ``y`` as its element i."""
    zeros = [constant(np.int64(0))] * (len(stack.shape) - 1)
    return DYNAMIC_UPDATE_SLICE(stack, reshape(y, (1, *y.shape)), i, *zeros)


def is_scan(node: Node) -> bool:
    return node.op is COMPOSITE and node["name"] == NAME
