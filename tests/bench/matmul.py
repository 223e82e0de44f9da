"""f32 matmul, squares and random shapes, against the multiply-add peak measured in the same run.

    python -m tests.bench.matmul [--random 200] [--squares 64,96,...] [--launches 1000]

Each product is checked against float64 before it is timed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mlc.ir.graph import DOT_GENERAL, Graph, Table
from mlc.ir.types import F32, TensorType

from .kernels import LAUNCHES, Launches, launches_of, peak

SQUARES = (
    63, 64, 65, 95, 96, 100, 127, 128, 129, 160, 192, 200, 225, 256, 257, 300, 320, 333, 384, 400, 448, 500, 511, 512,
)  # fmt: skip
FEWEST = 8  # launches of a long product in a round
ROUNDS = 5


def matmul(m: int, k: int, n: int) -> Launches:
    """lhs[m,k] @ rhs[k,n], compiled and found right."""
    table = Table()
    with table.active():
        x, y = (table.parameter(TensorType(shape, F32), name) for shape, name in (((m, k), "x"), ((k, n), "y")))
        attributes = {"lhs_contracting": (1,), "rhs_contracting": (0,), "lhs_batch": (), "rhs_batch": ()}
        body = Graph("matmul", [x, y], [DOT_GENERAL(x, y, **attributes)], table)
    rng = np.random.default_rng(m * 1000003 + k * 1009 + n)
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((m, k), (k, n)))
    launches, (c,) = launches_of("contraction", body, [a, b])
    launches.run()
    exact, size = a.astype(np.float64) @ b, np.abs(a).astype(np.float64) @ np.abs(b)
    worst = float(np.max(np.abs(c - exact) / (size * k + 1e-30)))
    if not worst <= 2.0**-23:
        raise SystemExit(f"matmul {m}x{k}x{n} is wrong: {worst}")
    return launches


@dataclass(frozen=True)
class Measured:
    """GFLOP/s of each shape (m, k, n), and of multiply-adds in registers, in the same run."""

    peak: float
    shapes: dict[tuple[int, int, int], float]

    def share(self, shape: tuple[int, int, int]) -> float:
        return self.shapes[shape] / self.peak

    def mean_share(self) -> float:
        """The geometric mean over the shapes."""
        return float(np.exp(np.mean([np.log(self.share(s)) for s in self.shapes])))


def measure(shapes: Iterable[tuple[int, int, int]], launches: int = LAUNCHES, rounds: int = ROUNDS) -> Measured:
    """The best of several ``rounds`` over all shapes, with the peak measured before each: a busy machine slows some."""
    products = {shape: matmul(*shape) for shape in shapes}
    best, highest = dict.fromkeys(products, 0.0), 0.0
    for _ in range(rounds):
        highest = max(highest, peak())
        for (m, k, n), product in products.items():
            work = 2 * m * k * n
            count = max(min(launches, int(launches * 5e8 / work)) // rounds, FEWEST)
            best[m, k, n] = max(best[m, k, n], work / product.seconds(count))
    return Measured(highest / 1e9, {shape: flops / 1e9 for shape, flops in best.items()})


def random_shapes(count: int, most: int = 600) -> list[tuple[int, int, int]]:
    rng = np.random.default_rng(3)
    return [(int(m), int(k), int(n)) for m, k, n in rng.integers(1, most + 1, (count, 3))]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.matmul", description=__doc__)
    parser.add_argument("--random", type=int, default=200, help="number of random M, K, N in 1..600")
    parser.add_argument("--squares", default=",".join(map(str, SQUARES)), help="sides of square products")
    parser.add_argument("--launches", type=int, default=LAUNCHES, help="of each product")
    options = parser.parse_args(arguments)
    squares = [(n, n, n) for n in map(int, filter(None, options.squares.split(",")))]
    if squares:
        found = measure(squares, options.launches)
        print(f"multiply-add peak {found.peak:.1f} GFLOP/s (f32, one thread)")
        for shape in squares:
            print(f"{shape[0]:4d}^3  {found.shapes[shape]:6.1f} GFLOP/s  {100 * found.share(shape):5.1f} %")
    if options.random:
        found = measure(random_shapes(options.random), options.launches)
        print(f"multiply-add peak {found.peak:.1f} GFLOP/s (f32, one thread)")
        print(f"{len(found.shapes)} random shapes: geometric mean {100 * found.mean_share():.1f} %; the worst:")
        for m, k, n in sorted(found.shapes, key=found.share)[:10]:
            print(f"  {m}x{k}x{n}  {100 * found.share((m, k, n)):5.1f} %")


if __name__ == "__main__":
    main()
