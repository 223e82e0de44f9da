"""What calls of convolutions and pools mean: layouts, sizes an axis, and paddings by name."""

from __future__ import annotations

from collections.abc import Sequence

from mlc.errors import ArgumentError, ShapeError
from mlc.ir.dims import Dim, Size
from mlc.ir.graph import Node
from mlc.ir.graph.window import Pairs, dilated

PerAxis = int | Sequence[int]
Padding = str | int | Sequence[int | Sequence[int]]


def spatial_axes(name: str, x: Node, data_format: str) -> tuple[int, ...]:
    """The spatial axes of ``x`` in a layout such as NHWC or NCHW: batch first, channels last or second.

    Raises ArgumentError for a word that is none, ShapeError where ``x`` has not its rank.
    """
    words = {"NC": (), "NWC": (1,), "NCW": (2,), "NHWC": (1, 2), "NCHW": (2, 3), "NDHWC": (1, 2, 3),
             "NCDHW": (2, 3, 4)}  # fmt: skip
    if data_format not in words:
        raise ArgumentError(f"{name}: data_format is {data_format!r}; it is one of {', '.join(words)}")
    if len(x.shape) != len(data_format):
        fits = [w for w in words if len(w) == len(x.shape) and w.endswith("C") == data_format.endswith("C")]
        other = f", and data_format={fits[0]!r} has the axes of this one" if fits else ""
        raise ShapeError(f"{name}: the operand is {x.type}; {data_format} has {len(data_format)} axes",
                         hint=f"a batch of one image is x[None]{other}")  # fmt: skip
    return words[data_format]


def per_axis(name: str, what: str, value: PerAxis, rank: int) -> tuple[int, ...]:
    """One positive number for each of ``rank`` axes. Raises ArgumentError for anything else."""
    values = (value,) * rank if isinstance(value, int) else tuple(value)
    if len(values) != rank or any(not isinstance(v, int) or v < 1 for v in values):
        raise ArgumentError(f"{name}: {what} is {value!r}; it is a positive number, or one for each of {rank} axes")
    return values


def pads(
    name: str, padding: Padding, sizes: Sequence[Size], window: Sequence[int], strides: Sequence[int],
    dilation: Sequence[int],
) -> Pairs:  # fmt: skip
    """The pairs (low, high) that ``padding`` says: SAME (as many windows as strides fit), VALID (none), a number for
    both sides of every axis, or for each axis a number or a pair. Raises ArgumentError for anything else."""
    rank = len(sizes)
    if isinstance(padding, str):
        if padding.upper() == "VALID":
            return ((0, 0),) * rank
        if padding.upper() != "SAME":
            raise ArgumentError(f"{name}: padding is {padding!r}; it is SAME, VALID, numbers or pairs of numbers")
        return tuple(_same(name, *each) for each in zip(sizes, window, strides, dilation, strict=True))
    each = (padding,) * rank if isinstance(padding, int) else tuple(padding)
    found = tuple((p, p) if isinstance(p, int) else tuple(p) for p in each)
    if len(found) != rank or any(len(p) != 2 or not all(isinstance(v, int) for v in p) for p in found):
        raise ArgumentError(f"{name}: padding is {padding!r}; it has a number or a pair for each of {rank} axes")
    return tuple((p[0], p[1]) for p in found)


def _same(name: str, size: Size, window: int, stride: int, dilation: int) -> tuple[int, int]:
    wide = dilated(window, dilation)
    assert isinstance(wide, int)
    if isinstance(size, Dim):
        if stride != 1:
            raise ArgumentError(f"{name}: SAME padding of the symbolic size {size} needs a stride of 1, not {stride}",
                                hint="give the padding in numbers")  # fmt: skip
        total = wide - 1
    else:
        total = max((-(-size // stride) - 1) * stride + wide - size, 0)
    return total // 2, total - total // 2
