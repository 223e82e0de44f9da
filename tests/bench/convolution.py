"""f32 convolutions and their gradients, images NHWC, against the multiply-add peak measured in the same run.

    python -m tests.bench.convolution [--only 3x3] [--launches 200]

Each is checked against its meaning before it is timed. Taps that fall into the padding count as work.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlc.ir.graph import Graph, Table
from mlc.ir.graph.convolution import convolution
from mlc.ir.graph.evaluate import evaluate_graph
from mlc.ir.types import F32, TensorType

from .kernels import Launches, launches_of, peak

NHWC = "b01f_01io->b01f"
OF_INPUT = "b01f_01oi->b01f"
OF_KERNEL = "f01b_i01o->01bf"
ROUNDS = 5


@dataclass(frozen=True)
class Shape:
    """``batch`` images of ``size`` x ``size`` x ``inputs``, a square window, zeros around by half of it."""

    batch: int
    size: int
    inputs: int
    outputs: int
    window: int
    stride: int = 1

    @property
    def result(self) -> int:
        return (self.size + 2 * (self.window // 2) - self.window) // self.stride + 1

    @property
    def flops(self) -> int:
        return 2 * self.batch * self.result**2 * self.window**2 * self.inputs * self.outputs

    def build(self, which: str) -> Graph:
        """The convolution (``forward``), or its gradient of the image (``input``) or of the kernel (``kernel``)."""
        n, s, i, o, w, r = self.batch, self.size, self.inputs, self.outputs, self.window, self.result
        low, stride = w // 2, (self.stride,) * 2
        image, kernel, result = (n, s, s, i), (w, w, i, o), (n, r, r, o)
        spread = (r - 1) * self.stride + 1
        shapes, labels, given = {
            "forward": ((image, kernel), NHWC, {"padding": ((low, low),) * 2, "window_strides": stride}),
            "input": ((result, kernel), OF_INPUT, {
                "padding": ((w - 1 - low, s + low - spread),) * 2, "lhs_dilation": stride,
                "window_reversal": (True, True)}),
            "kernel": ((image, result), OF_KERNEL, {
                "padding": ((low, w - 1 + spread - s - low),) * 2, "rhs_dilation": stride}),
        }[which]  # fmt: skip
        table = Table()
        with table.active():
            x, y = (table.parameter(TensorType(shape, F32), name) for shape, name in zip(shapes, "xy", strict=True))
            return Graph(which, [x, y], [convolution(x, y, labels, **given)], table)


SHAPES = {
    "3x3 56": Shape(1, 56, 64, 64, 3),
    "3x3 28": Shape(1, 28, 128, 128, 3),
    "3x3 14": Shape(1, 14, 256, 256, 3),
    "3x3 7": Shape(1, 7, 512, 512, 3),
    "3x3/2 56": Shape(1, 56, 128, 128, 3, 2),
    "3x3/2 28": Shape(1, 28, 256, 256, 3, 2),
    "3x3/2 14": Shape(1, 14, 512, 512, 3, 2),
    "1x1 56 up": Shape(1, 56, 64, 256, 1),
    "1x1 56 down": Shape(1, 56, 256, 64, 1),
    "1x1 28 up": Shape(1, 28, 128, 512, 1),
    "1x1 28 down": Shape(1, 28, 512, 128, 1),
    "1x1 14 up": Shape(1, 14, 256, 1024, 1),
    "1x1 14 down": Shape(1, 14, 1024, 256, 1),
    "1x1 7 up": Shape(1, 7, 512, 2048, 1),
    "1x1 7 down": Shape(1, 7, 2048, 512, 1),
    "1x1/2 56": Shape(1, 56, 256, 512, 1, 2),
    "1x1/2 14": Shape(1, 14, 1024, 2048, 1, 2),
    "7x7/2 224": Shape(1, 224, 3, 64, 7, 2),
    "5x5 28 thin": Shape(2, 28, 1, 32, 5),
    "5x5 14": Shape(2, 14, 32, 64, 5),
    "5x5 14 of 50": Shape(50, 14, 32, 64, 5),
    "3x3 7 of 8": Shape(8, 7, 512, 512, 3),
    "3x3 32 narrow": Shape(2, 32, 16, 16, 3),
    "3x3 32 narrow of 32": Shape(32, 32, 16, 16, 3),
    "3x3 8 narrow": Shape(8, 8, 64, 64, 3),
}


def compiled(shape: Shape, which: str) -> Launches:
    """The kernels of a convolution, found right."""
    body = shape.build(which)
    rng = np.random.default_rng(5)
    arrays = [rng.standard_normal(p.shape).astype(np.float32) for p in body.parameters]
    launches, (found,) = launches_of("convolution", body, arrays)
    launches.run()
    (expected,) = evaluate_graph(body, arrays)
    worst = float(np.max(np.abs(found - expected)) / np.max(np.abs(expected)))
    if not worst <= 1e-5:
        raise SystemExit(f"{which} of {shape} is wrong: {worst}")
    return launches


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.convolution", description=__doc__)
    parser.add_argument("--only", default="", help="shapes whose name begins so")
    parser.add_argument("--which", default="forward,input,kernel")
    parser.add_argument("--launches", type=int, default=200, help="of each convolution")
    options = parser.parse_args(arguments)
    cases = {(n, w): compiled(s, w) for n, s in SHAPES.items() if n.startswith(options.only)
             for w in options.which.split(",")}  # fmt: skip
    best, highest = dict.fromkeys(cases, 1e30), 0.0
    for _ in range(ROUNDS):
        highest = max(highest, peak())
        for case, launches in cases.items():
            best[case] = min(best[case], launches.seconds(max(options.launches // ROUNDS, 2)))
    print(f"multiply-add peak {highest / 1e9:.1f} GFLOP/s (f32, one thread)")
    for (name, which), seconds in best.items():
        print(f"{name:14s} {which:8s} {seconds * 1e6:9.1f} us  {100 * SHAPES[name].flops / seconds / highest:5.1f} %")


if __name__ == "__main__":
    main()
