"""Calls of mlc alone: dispatch of a small one, and symbolic against exact sizes. Prints one JSON object."""

from __future__ import annotations

import json
import sys

from .common import least, pin, problem

if __name__ == "__main__":
    pin()

import numpy as np

import mlc
import mlc.numpy as mnp

from .with_mlc import forward

SIZES = (1, 7, 16, 33, 64)
UPPER = 64


def dispatch(seconds: float) -> float:
    """Seconds of a + b on four floats through ``jit``."""
    f = mlc.jit(lambda a, b: a + b)
    a, b = mnp.asarray(np.ones(4, np.float32)), mnp.asarray(np.ones(4, np.float32))
    return least(lambda: f(a, b), seconds)


def symbolic(step: str, seconds: float) -> dict[str, float]:
    """By size of the batch: time of the forward pass compiled for 1..64, over that compiled for the size."""
    params, x, _ = problem(step)
    p = mlc.tree.map(mnp.asarray, params)
    function = mlc.jit(lambda p, x: forward(step, p, x))
    spec = mlc.tree.map(lambda v: mlc.ShapeDtype(v.shape, "f32"), p)
    general = function.lower(spec, mlc.ShapeDtype((mlc.dim("batch", 1, UPPER), *x.shape[1:]), "f32")).compile()
    rows = np.resize(x, (UPPER, *x.shape[1:]))
    found = {}
    for n in SIZES:
        batch = mnp.asarray(np.ascontiguousarray(rows[:n]))
        exact = function.lower(p, batch).compile()
        np.testing.assert_allclose(np.asarray(general(p, batch)), np.asarray(exact(p, batch)), rtol=1e-4, atol=1e-4)
        times: list[list[float]] = [[], []]
        for _ in range(3):  # in turns, so that a busy machine slows both
            for times_of, call in zip(times, (general, exact), strict=True):
                times_of.append(least(lambda call=call, batch=batch: call(p, batch), seconds / 3))
        found[str(n)] = min(times[0]) / min(times[1])
    return found


def main() -> None:
    seconds = float(sys.argv[1])
    models = {"MLP": "T2", "CNN": "T3"}
    ratios = {name: symbolic(step, seconds / 5) for name, step in models.items()}
    print(json.dumps({"dispatch": dispatch(seconds), "symbolic": ratios}))


if __name__ == "__main__":
    main()
