"""Random programs: graphs of 5 to 60 nodes over every row, element type and kind of shape, with inputs to run them on.

What is made is a matter of choices: numbered ones (`program`) or Hypothesis's (`programs`), which shrink a program that
fails. `python -m tests.fuzz.programs 500` prints how often each row was made with each element type.
"""

from __future__ import annotations

import functools
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from mlc.errors import MlcError
from mlc.ir import graph as g
from mlc.ir.dims import Dim, Size, bounds, dim, evaluate_size
from mlc.ir.graph import OPS, Graph, Literal, Node, Op, Table, Windows, identity_of, results_of
from mlc.ir.graph.reduction import REDUCERS, body_of
from mlc.ir.types import DTYPES, F32, I32, U32, U64, DType, TensorType, TupleType

Array = npt.NDArray[Any]
Made = tuple[Graph, list[Array]]
SIZES = (0, 1, 1, 2, 2, 3, 3, 4, 5, 7, 8, 16, 17, 33)
MOST_ELEMENTS = 3000
TRIES = 3  # choices that a row may refuse before another row's turn comes
EVERY = list(DTYPES.values())
INDEX_TYPES = [t for t in EVERY if t.is_integer]


CONTROL = ("while", "case")
OF_RANKS = (*(op.name for op in g.COLLECTIVES), "collective_start", "collective_done", "sharded_call")
"""Rows that need several ranks: tests/distributed."""


class Coverage:
    """How many nodes of each row and element type (of the first operand, or of what is selected) programs have had."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()

    def add(self, graph: Graph) -> None:
        for node in graph.nodes:
            source = node.operands[1 if node.op is g.SELECT else 0].type if node.operands else node.type
            if isinstance(source, TupleType):
                source = source.elements[-1]
            self.counts[node.op.name, source.dtype.name if isinstance(source, TensorType) else "token"] += 1
            if node.op.name in g.REGIONS:
                self.add(node[g.REGIONS[node.op.name]])

    def rows(self) -> dict[str, int]:
        total: Counter[str] = Counter()
        for (row, _), count in self.counts.items():
            total[row] += count
        return dict(total)

    def __str__(self) -> str:
        width = max(map(len, OPS))
        lines = [" " * width + "".join(f"{name:>6}" for name in DTYPES)]
        for row in sorted(OPS):
            cells = "".join(f"{self.counts[row, name] or '.':>6}" for name in DTYPES)
            lines.append(f"{row:>{width}}{cells}")
        return "\n".join(lines)


def program(seed: int, without: Sequence[str] = (), often: tuple[str, str] | None = None) -> Made:
    """The program of this number and its inputs, the same on every machine.

    ``without`` names rows to leave out; ``often`` a row to make in every third step, and an element type to give it.
    """
    maker = _Maker(_Choices(seed), f"program_{seed}", without)
    maker.often = often
    return maker.run()


@st.composite
def programs(draw: st.DrawFn, without: Sequence[str] = ()) -> Made:
    """Programs and their inputs by Hypothesis's choices."""
    return _Maker(_Drawn(draw), "program", without).run()


class _Choices:
    """Where a program's decisions and the numbers in its arrays come from."""

    def __init__(self, seed: int) -> None:
        self.numbers = np.random.default_rng(seed)

    def begin_step(self) -> None:
        """Called before each node is made."""

    def nodes(self) -> int:
        """How many nodes the program should have."""
        return int(self.numbers.integers(5, 61))

    def below(self, n: int) -> int:
        """One of 0, ..., n - 1."""
        return int(self.numbers.integers(n))

    def chance(self, p: float) -> bool:
        """True with probability ``p``."""
        return bool(self.numbers.random() < p)


class _Drawn(_Choices):
    """Hypothesis draws how many nodes there are and one seed for each, so that it can leave out nodes and keep others.

    Its draws of small numbers repeat themselves too much to reach every row with every element type.
    """

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.seen: Counter[int] = Counter()
        self.begin_step()

    def begin_step(self) -> None:
        seed = self.draw(st.integers(0, 2**32 - 1))
        self.numbers = np.random.default_rng([seed, self.seen[seed]])  # the same seed again makes something else
        self.seen[seed] += 1

    def nodes(self) -> int:
        return self.draw(st.integers(5, 60))


class _Maker:
    def __init__(self, choices: _Choices, name: str, without: Sequence[str] = (), depth: int = 0) -> None:
        self.choices = choices
        self.name = name
        self.without = without
        self.depth = depth
        self.often: tuple[str, str] | None = None
        self.wanted: DType | None = None  # of the next value
        self.table = Table()
        self.pool: list[Node] = []
        self.parameters: list[Node] = []
        self.arrays: list[Array] = []
        self.n = dim("n", 1, 40) if depth == 0 and choices.chance(0.15) else None
        self.sizes = {"n": self.pick([1, 2, 7, 16, 33])}

    def run(self) -> Made:
        with self.table.active():
            for _ in range(self.between(1, 3)):
                self.parameter(self.type())
            if self.n is not None:
                self.parameter(TensorType((self.n, *self.shape(2)), self.pick(EVERY)))
            wanted = self.between(2, 5) if self.depth else self.choices.nodes()
            while len(self.table) < wanted:
                self.step()
            used = {o for node in self.pool for o in node.operands}
            results = [node for node in self.pool if node not in used and node.op is not g.PARAMETER]
            return Graph(self.name, self.parameters, results or self.pool[-1:], self.table), self.arrays

    @property
    def rng(self) -> np.random.Generator:
        """The numbers of this step."""
        return self.choices.numbers

    def step(self) -> None:
        """One more node; where the row refuses the choices, others are made a few times."""
        if not self.depth:
            self.choices.begin_step()
        op = self.pick(turns(tuple(self.without), min(self.depth, 2)))
        now = self.often is not None and self.choices.chance(1 / 3)
        for _ in range(TRIES):
            if self.often and now:
                op, self.wanted = OPS[self.often[0]], DTYPES[self.often[1]]
            try:
                node = self.make(op)
            except MlcError:
                continue
            if node is not None and all(few(t) for t in _types(node)):
                self.pool += [e for e in results_of(node) if e not in self.pool]
                return

    def make(self, op: Op) -> Node | None:
        special = getattr(self, f"make_{op.name}", None)
        if special is not None:
            made: Node | None = special()
            return made
        return self.elementwise(op) if op.elementwise else op(self.any())

    # ---------------------------------------------------------------- choices

    def pick(self, choices: Sequence[Any]) -> Any:
        return choices[self.choices.below(len(choices))]

    def between(self, low: int, high: int) -> int:
        """One of low, ..., high."""
        return low + self.choices.below(high - low + 1)

    def below_often_small(self, n: int) -> int:
        return self.choices.below(self.choices.below(n) + 1)

    def permutation(self, n: int) -> list[int]:
        left = list(range(n))
        return [left.pop(self.choices.below(len(left))) for _ in range(n)]

    def shape(self, most: int = 4) -> tuple[Size, ...]:
        shape: list[Size] = [self.pick(SIZES) for _ in range(self.between(0, most))]
        if self.n is not None and shape and self.choices.chance(0.5):
            shape[self.choices.below(len(shape))] = self.n
        while not few(TensorType(tuple(shape), F32)):
            shape.pop()
        return tuple(shape)

    def type(self) -> TensorType:
        return TensorType(self.shape(), self.pick(EVERY))

    def parameter(self, type: TensorType) -> Node:
        node = self.table.parameter(type, self.pick(["", f"p{len(self.parameters)}"]))
        self.parameters.append(node)
        self.pool.append(node)
        self.arrays.append(values(self.rng, [evaluate_size(s, self.sizes) for s in type.shape], type.dtype))
        return node

    def any(self, fits: Callable[[TensorType], bool] = lambda type: True, dtype: DType | None = None) -> Node:
        """A value so far that fits, most often a late one (so that graphs are deep); now and then a new one."""
        dtype, self.wanted = dtype or self.wanted, None
        found = [n for n in self.pool if fits(n.tensor) and (dtype is None or n.dtype == dtype)]
        if found and self.choices.chance(0.9):
            return found[-1 - min(self.below_often_small(12), len(found) - 1)]
        for _ in range(50):
            type = TensorType(self.shape(), dtype or self.pick(EVERY))
            if fits(type):
                return self.new(type)
        raise MlcError("no value fits")

    def new(self, type: TensorType) -> Node:
        """A value of this type: converted or broadcast from another, a constant, or a parameter."""
        kind = self.choices.below(100) / 100
        same = [n for n in self.pool if n.shape == type.shape and n.dtype != type.dtype]
        if same and kind < 0.6:
            return self.keep(g.CONVERT(self.pick(same), dtype=type.dtype))
        scalars = [n for n in self.pool if n.shape == () and n.dtype == type.dtype]
        if scalars and kind < 0.75:
            return self.keep(g.broadcast_in_dim(self.pick(scalars), type.shape, ()))
        if kind < 0.8 and type.is_static:
            return self.keep(self.constant(type))
        if self.depth or len(self.parameters) >= 8:
            return self.keep(g.broadcast_in_dim(self.constant(TensorType((), type.dtype)), type.shape, ()))
        return self.parameter(type)

    def constant(self, type: TensorType) -> Node:
        array = values(self.rng, [evaluate_size(s, self.sizes) for s in type.shape], type.dtype)
        return g.CONSTANT(value=Literal(array, type.dtype))

    def keep(self, node: Node) -> Node:
        if node not in self.pool:
            self.pool.append(node)
        return node

    def like(self, type: TensorType) -> Node:
        found = [n for n in self.pool if n.type == type]
        node: Node = self.pick(found) if found and self.choices.chance(0.9) else self.new(type)
        return node

    # ---------------------------------------------------------------- rows

    def elementwise(self, op: Op) -> Node:
        dtype = self.wanted or self.pick(allowed(op))
        first = self.any(dtype=dtype)
        attributes: dict[str, Any] = {}
        if "direction" in op.attributes:
            attributes["direction"] = self.pick(["EQ", "NE", "LT", "LE", "GT", "GE"])
        if "dtype" in op.attributes:
            attributes["dtype"] = self.pick(EVERY if op is g.CONVERT else [t for t in EVERY if t.bits == dtype.bits])
        return op(first, *(self.like(first.tensor) for _ in range((op.arity or 1) - 1)), **attributes)

    def make_select(self) -> Node:
        x = self.any()
        return g.SELECT(self.like(x.tensor.with_dtype(DTYPES["bool"])), x, self.like(x.tensor))

    def make_constant(self) -> Node:
        type = self.type()
        return self.constant(type if type.is_static else TensorType((3,), type.dtype))

    def make_iota(self) -> Node:
        shape = (*self.shape(3), self.pick(SIZES))
        return g.IOTA(shape=shape, dtype=self.pick(EVERY), dimension=self.choices.below(len(shape)))

    def make_size(self) -> Node | None:
        return g.size_value(self.n * self.between(1, 3) + 1) if self.n is not None else None

    def make_get_dimension_size(self) -> Node:
        x = self.any(lambda t: t.rank > 0)
        return g.GET_DIMENSION_SIZE(x, dimension=self.choices.below(len(x.shape)))

    def make_broadcast_in_dim(self) -> Node:
        x = self.any(lambda t: t.rank <= 3)
        shape: list[Size] = [s if s != 1 or self.choices.chance(0.5) else self.pick(SIZES) for s in x.shape]
        dimensions = list(range(len(shape)))
        for _ in range(self.between(0, 2)):
            at = self.choices.below(len(shape) + 1)
            shape.insert(at, self.pick(SIZES))
            dimensions = [d + (d >= at) for d in dimensions]
        return g.BROADCAST_IN_DIM(x, shape=tuple(shape), dimensions=tuple(dimensions))

    def make_reshape(self) -> Node:
        """Join neighbours, split sizes, insert ones."""
        x = self.any(lambda t: t.rank <= 4)
        shape = list(x.shape)
        for _ in range(self.between(1, 2)):
            kind, at = self.choices.below(100) / 100, self.choices.below(len(shape) + 1)
            size = shape[at] if at < len(shape) else None
            if kind < 0.3:
                shape.insert(at, 1)
            elif kind < 0.6 and at + 1 < len(shape):
                shape[at : at + 2] = [shape[at] * shape[at + 1]]
            elif isinstance(size, int):
                factor = self.pick([k for k in (1, 2, 3, 5, 7, 11) if size % k == 0])
                shape[at : at + 1] = [size // factor, factor]
        return g.RESHAPE(x, shape=tuple(shape))

    def make_transpose(self) -> Node:
        x = self.any(lambda t: t.rank >= 2)
        return g.TRANSPOSE(x, permutation=tuple(self.permutation(len(x.shape))))

    def make_slice(self) -> Node:
        x = self.any(lambda t: t.rank > 0)
        start, limit, strides = list[int](), list[Size](), list[int]()
        for n in x.shape:
            if isinstance(n, Dim) or self.choices.chance(0.3):
                start, limit, strides = [*start, 0], [*limit, n], [*strides, 1]
            else:
                a, b = sorted((self.between(0, n), self.between(0, n)))
                start, limit, strides = [*start, a], [*limit, b], [*strides, int(self.pick([1, 1, 2, 3]))]
        return g.SLICE(x, start=tuple(start), limit=tuple(limit), strides=tuple(strides))

    def make_pad(self) -> Node:
        x = self.any(lambda t: t.rank > 0)
        value = self.like(TensorType((), x.dtype))
        choices = {"low": [0, 0, 1, 2, -1], "high": [0, 0, 1, 3, -1], "interior": [0, 0, 0, 1, 2]}
        widths = {key: tuple(int(self.pick(c)) for _ in x.shape) for key, c in choices.items()}
        return g.PAD(x, value, **widths)

    def make_concatenate(self) -> Node:
        x = self.any(lambda t: t.rank > 0)
        axis = self.choices.below(len(x.shape))
        parts = [x]
        for _ in range(self.between(0, 2)):
            type = TensorType((*x.shape[:axis], self.pick(SIZES), *x.shape[axis + 1 :]), x.dtype)
            parts.append(self.like(type) if few(type) else x)
        return g.CONCATENATE(*parts, dimension=axis)

    def make_sort(self) -> Node | None:
        x = self.any()
        if not x.shape:
            return None
        axis, others = self.choices.below(len(x.shape)), [self.like(x.tensor) for _ in range(self.pick([0, 0, 1, 2]))]
        if bounds(x.tensor.size)[0] == 0 and self.n is not None:
            return None
        operands = [x, *others]
        key, down = self.choices.below(len(operands)), self.choices.chance(0.5)
        comparator = g.comparator_of([o.dtype for o in operands], key, descending=down)
        return g.SORT(*operands, dimension=axis, is_stable=self.choices.chance(0.5), comparator=comparator)

    def make_gather(self) -> Node | None:
        x = self.any()
        windows = self.windows(x, inside=True)
        indices = self.places(x, windows.indices) if windows else None
        return g.gather(x, indices, windows) if windows and indices else None

    def make_scatter(self) -> Node | None:
        op = self.pick([g.ADD, g.ADD, None, g.MAXIMUM, g.MINIMUM])
        x = self.any()
        windows = self.windows(x, inside=False)
        if windows is None or not few(windows.operand.with_shape(windows.shape)):
            return None
        indices, updates = self.places(x, windows.indices), self.like(x.tensor.with_shape(windows.shape))
        return g.scatter_windows(x, indices, updates, windows, op)

    def windows(self, x: Node, inside: bool) -> Windows | None:
        """Windows of ``x``: some axes placed by indices, some left out, now and then one walked with the indices."""
        axes = [int(i) for i in self.rng.permutation(len(x.shape))]
        batching = axes[: self.pick([0, 0, 1])]
        placed = axes[len(batching) : len(batching) + self.pick([0, 1, 1, 2])]
        dropped = tuple(a for a in placed if self.rng.random() < 0.7)
        sizes = list(x.shape)
        for a in placed:
            n = x.shape[a]
            least = bounds(n)[0]
            if least < 1 and inside:
                return None
            sizes[a] = 1 if a in dropped else int(self.rng.integers(1, max(least, 1) + 1))
        for a in batching:
            sizes[a] = 1
        count: list[Size] = [self.pick(SIZES) for _ in range(self.pick([0, 1, 1, 2]))]
        shape = [*(x.shape[a] for a in batching), *count]
        at = int(self.rng.integers(len(shape) + 1))
        shape.insert(at, len(placed))
        kept = len(x.shape) - len(dropped) - len(batching)
        rank = kept + len(shape) - 1
        dims = tuple(sorted(int(i) for i in self.rng.permutation(rank)[:kept]))
        indices = TensorType(tuple(shape), self.pick(INDEX_TYPES))
        found = Windows(x.tensor, indices, tuple(sizes), dims, tuple(sorted(dropped)), tuple(batching),
                        tuple(i + (i >= at) for i in range(len(batching))), tuple(placed), at)  # fmt: skip
        return found if few(x.tensor.with_shape(found.shape)) and few(indices) else None

    def places(self, x: Node, type: TensorType) -> Node:
        """Start indices around the sizes of ``x``, known or a parameter's."""
        most = max((bounds(n)[1] for n in x.shape), default=1)
        shape = [evaluate_size(s, self.sizes) for s in type.shape]
        low = 0 if type.dtype.kind == "uint" else -2
        array = self.rng.integers(low, min(most, 60) + 2, shape).astype(type.dtype.numpy)
        if not self.depth and len(self.parameters) < 8 and (self.rng.random() < 0.6 or not type.is_static):
            node = self.parameter(type)
            self.arrays[-1] = array
            return node
        if not type.is_static:
            raise MlcError("no indices fit")
        return self.keep(g.CONSTANT(value=Literal(array, type.dtype)))

    def make_dynamic_slice(self) -> Node:
        x = self.any()
        sizes = tuple(n if isinstance(n, Dim) else int(self.rng.integers(0, n + 1)) for n in x.shape)
        starts = [self.places(x, TensorType((), self.pick(INDEX_TYPES))) for _ in sizes]
        return g.DYNAMIC_SLICE(x, *starts, slice_sizes=sizes)

    def make_dynamic_update_slice(self) -> Node:
        x = self.any()
        sizes = tuple(n if isinstance(n, Dim) else int(self.rng.integers(0, n + 1)) for n in x.shape)
        update = self.like(x.tensor.with_shape(sizes))
        starts = [self.places(x, TensorType((), self.pick(INDEX_TYPES))) for _ in sizes]
        return g.DYNAMIC_UPDATE_SLICE(x, update, *starts)

    def make_reverse(self) -> Node:
        x = self.any()
        return g.REVERSE(x, dimensions=tuple(i for i in range(len(x.shape)) if self.choices.chance(0.5)))

    def make_reduce(self) -> Node:
        dtype = self.pick(EVERY)
        reducer = self.pick([r for r in REDUCERS if dtype in allowed(r)])
        x = self.any(lambda t: t.rank > 0, dtype)
        axes = tuple(i for i in range(len(x.shape)) if self.choices.chance(0.6))
        if self.choices.chance(0.3):
            axis = self.choices.below(len(x.shape))
            return g.cumulative(reducer, x, axis) if self.choices.chance(0.6) else self.backward(reducer, x, axis)
        start = g.CONSTANT(value=Literal(identity_of(reducer, dtype), dtype))
        init = start if self.choices.chance(0.7) else self.like(TensorType((), dtype))
        return g.REDUCE(x, init, dimensions=axes, body=body_of(reducer, dtype))

    def make_dot_general(self) -> Node | None:
        x = self.any(dtype=self.pick(allowed(g.DOT_GENERAL)))
        axes = self.permutation(len(x.shape))
        batch = axes[: self.pick([0, 0, 1])]
        contracted = axes[len(batch) : len(batch) + self.pick([0, 1, 1, 2])]
        free: list[Size] = [self.pick(SIZES) for _ in range(self.pick([0, 1, 1, 2]))]
        order = [*(x.shape[i] for i in batch), *(x.shape[i] for i in contracted), *free]
        places = self.permutation(len(order))  # where each of order stands in rhs
        type = TensorType(tuple(order[places.index(i)] for i in range(len(order))), x.dtype)
        if not few(type):
            return None
        rhs_contracted = places[len(batch) : len(batch) + len(contracted)]
        return g.dot_general(x, self.like(type), contracted, rhs_contracted, batch, places[: len(batch)])

    def make_convolution(self) -> Node | None:
        """Of a value with at least two axes, in any layout; most often one that keeps the sizes."""
        x = self.any(lambda t: t.rank >= 2, self.pick(allowed(g.DOT_GENERAL)))
        rank = len(x.shape) - 2
        labels = ["".join(str(c) for c in self.rng.permutation([a, b, *map(str, range(rank))]))
                  for a, b in ("bf", "oi", "bf")]  # fmt: skip
        feature, batch = x.shape[labels[0].index("f")], x.shape[labels[0].index("b")]
        groups = self.pick([1, 1, 2, 3])
        batches = 1 if groups > 1 else self.pick([1, 1, 1, 2])
        if isinstance(feature, Dim) or feature % groups or (isinstance(batch, int) and batch % batches):
            return None
        size = {"o": self.pick([1, 2, 3]) * groups * batches, "i": feature // groups}
        size |= {str(i): self.pick([1, 2, 3]) for i in range(rank)}
        type = TensorType(tuple(size[c] for c in labels[1]), x.dtype)
        fixed = [isinstance(x.shape[labels[0].index(str(i))], int) for i in range(rank)]  # the others have no strides
        few_times = [tuple(self.pick([1, 1, 1, 2, 3]) if f else 1 for f in fixed) for _ in range(3)]
        padding = tuple((self.pick([0, 1, 2, -1]), self.pick([0, 1, 2, -1])) for _ in range(rank))
        return g.convolution(
            x, self.like(type), f"{labels[0]}_{labels[1]}->{labels[2]}", window_strides=few_times[0], padding=padding,
            lhs_dilation=few_times[1], rhs_dilation=few_times[2], feature_group_count=groups, batch_group_count=batches,
            window_reversal=tuple(self.choices.chance(0.3) for _ in range(rank)))  # fmt: skip

    def window(self, x: Node) -> dict[str, Any]:
        still = [isinstance(n, Dim) for n in x.shape]
        window = tuple(1 if s else self.pick([1, 1, 2, 3, 5]) for s in still)
        strides = tuple(1 if s else self.pick([1, 1, 2, 3]) for s in still)
        padding = tuple((0, 0) if s else (self.pick([0, 0, 1, -1]), self.pick([0, 0, 2, -1])) for s in still)
        return {"window_dimensions": window, "window_strides": strides, "padding": padding}

    def make_reduce_window(self) -> Node:
        reducer = self.pick(REDUCERS)
        dtype = self.pick(allowed(reducer))
        x = self.any(lambda t: t.rank > 0, dtype)
        start = g.CONSTANT(value=Literal(identity_of(reducer, dtype), dtype))
        init = start if self.rng.random() < 0.7 else self.like(TensorType((), dtype))
        dilations = [tuple(1 if isinstance(n, Dim) else self.pick([1, 1, 2]) for n in x.shape) for _ in range(2)]
        return g.REDUCE_WINDOW(x, init, **self.window(x), base_dilations=dilations[0], window_dilations=dilations[1],
                               body=body_of(reducer, dtype))  # fmt: skip

    def backward(self, reducer: Op, x: Node, axis: int) -> Node:
        """Windows of all elements from each one on."""
        window = tuple(max(bounds(n)[1], 1) if a == axis else 1 for a, n in enumerate(x.shape))
        return g.reduce_window(reducer, x, window, padding=tuple((0, n - 1) for n in window))

    def make_select_and_gather(self) -> Node:
        x = self.any(lambda t: t.rank > 0, self.pick(allowed(g.DOT_GENERAL)))
        return g.select_and_gather(self.like(x.tensor), x, self.pick(["GE", "LE"]), **self.window(x))

    def make_select_and_scatter(self) -> Node:
        gathered = self.make_select_and_gather()
        source, init = self.like(gathered.tensor), self.like(TensorType((), gathered.dtype))
        return g.SELECT_AND_SCATTER(gathered.operands[1], source, init, **gathered.attributes,
                                    scatter=body_of(g.ADD, gathered.dtype))  # fmt: skip

    def make_rng_bit_generator(self) -> Node:
        key = self.like(TensorType((2,), self.pick([U32, U64])))
        return g.RNG_BIT_GENERATOR(key, shape=self.shape(), dtype=self.pick([U32, U64]), algorithm="THREE_FRY")

    def make_get_tuple_element(self) -> None:
        """Made of every tuple."""

    def make_call(self) -> Node:
        body, operands = self.body()
        return g.CALL(*operands, callee=body)

    def make_composite(self) -> Node:
        body, operands = self.body()
        return g.COMPOSITE(*operands, name="random", decomposition=body, options={"seed": 1})

    def make_fusion(self) -> Node:
        body, operands = self.body()
        return g.FUSION(*operands, kind="loop", body=body)

    def make_case(self) -> Node:
        operands = self.several()
        types = [o.tensor for o in operands]
        results = [self.pick(types) for _ in range(self.between(1, 3))]
        branches = tuple(self.region(f"branch{i}", types, results) for i in range(self.between(1, 3)))
        return g.CASE(self.like(TensorType((), I32)), *operands, branches=branches)

    def make_while(self) -> Node:
        """At most four trips by a counter, which the body may read."""
        operands = [g.constant(np.int64(0)), *self.several()]
        types = [o.tensor for o in operands]
        body, table = self.region("body", types, types), Table()
        with body.table.active():
            following = g.ADD(body.parameters[0], g.constant(np.int64(1)))
        body = body.with_results((following, *body.results[1:]))
        with table.active():
            i, *others = (table.parameter(t) for t in types)
            test = g.COMPARE(i, g.constant(np.int64(self.between(0, 4))), direction="LT")
        return g.WHILE(*operands, cond=Graph("cond", (i, *others), (test,), table), body=body)

    def several(self) -> list[Node]:
        return [self.any() for _ in range(self.between(1, 3))]

    def region(self, name: str, types: Sequence[TensorType], results: Sequence[TensorType]) -> Graph:
        """A graph of a few nodes on parameters of ``types``, among which are those of ``results``."""
        inside = _Maker(self.choices, f"{self.name}_{name}{len(self.table)}", self.without, self.depth + 1)
        with inside.table.active():
            for t in types:
                inside.parameter(t)
            for _ in range(self.between(1, 5)):
                inside.step()
            found = [inside.pick([n for n in reversed(inside.pool) if n.type == t][:2]) for t in results]
        return Graph(inside.name, inside.parameters[: len(types)], found, inside.table)

    def body(self) -> tuple[Graph, list[Node]]:
        """A graph of a few nodes and what it is called on."""
        graph, _ = _Maker(self.choices, f"{self.name}_{len(self.table)}", self.without, self.depth + 1).run()
        return graph, [self.like(p.tensor) for p in graph.parameters]


def few(type: TensorType) -> bool:
    """Whether a tensor is small enough for hundreds of programs in a minute."""
    return int(np.prod([evaluate_size(s, {"n": 40}) for s in type.shape], dtype=int)) <= MOST_ELEMENTS


@functools.cache
def turns(without: tuple[str, ...], depth: int) -> list[Op]:
    """The rows that a program of this depth is made of, each as often as it has turns."""
    skip = {"parameter", *OF_RANKS, *without, *(g.REGIONS if depth else ()), *(CONTROL if depth > 1 else ())}
    return [op for name, op in OPS.items() if name not in skip for _ in weight(op)]


def weight(op: Op) -> Sequence[DType]:
    """As many turns as the row has element types, so that each of them is made about as often."""
    if op in (g.CONSTANT, g.GET_TUPLE_ELEMENT):  # made beside the others
        return EVERY[:1]
    return EVERY if hasattr(_Maker, f"make_{op.name}") else allowed(op)


@functools.cache
def allowed(op: Op) -> tuple[DType, ...]:
    """The element types of the first operand that a row takes, by asking it."""
    found = []
    for dtype in EVERY:
        x = Table().parameter(TensorType((), dtype))
        given: dict[str, Any] = {"direction": "EQ", "dtype": dtype}
        try:
            op.result_type([x] * (op.arity or 1), {key: given.get(key, ()) for key in op.attributes})
        except MlcError:
            continue
        found.append(dtype)
    return tuple(found)


def values(rng: np.random.Generator, shape: Sequence[int], dtype: DType) -> Array:
    """Mostly small numbers, of which sums and products stay in range; now and then the hard ones."""
    size = tuple(shape)
    if dtype.kind == "bool":
        return np.asarray(rng.random(size) < 0.5)
    if dtype.is_integer:
        low, high = dtype.limits
        array = np.asarray(rng.integers(max(low, -9), 10, size)).astype(dtype.numpy)
        hard = np.array([low, high, low + 1, dtype.bits, dtype.bits - 1, 0], dtype.numpy)
    else:
        array = np.asarray(rng.normal(0, 2, size) * rng.choice([1, 1, 0.25])).astype(dtype.numpy)
        hard = np.array([0.0, -0.0, 1.0, np.inf, -np.inf, np.nan, 1e4, 1e-7]).astype(dtype.numpy)
    if rng.random() < 0.2:
        array = np.where(rng.random(size) < 0.15, hard[rng.integers(0, len(hard), size)], array)
    return np.asarray(array, dtype.numpy)


def _types(node: Node) -> list[TensorType]:
    elements = node.type.elements if isinstance(node.type, TupleType) else (node.type,)
    return [t for t in elements if isinstance(t, TensorType)]


if __name__ == "__main__":
    coverage = Coverage()
    for number in range(int(sys.argv[1]) if len(sys.argv) > 1 else 500):
        coverage.add(program(number)[0])
    print(coverage)
