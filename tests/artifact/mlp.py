"""A program for the tests: exports a small network with a run-time batch, and a function on trees."""

from itertools import pairwise

import numpy as np

import mlc

random = np.random.default_rng(0)
SIZES = (64, 48, 32, 10)
params = [
    (random.normal(size=(n, m)).astype(np.float32) / np.float32(n**0.5), random.normal(size=m).astype(np.float32))
    for n, m in pairwise(SIZES)
]


def logits(x):
    for w, b in params[:-1]:
        x = mlc.nn.relu(x @ w + b)
    w, b = params[-1]
    return x @ w + b


def predict(x):
    return {"probs": mlc.nn.softmax(logits(x))}


batch = mlc.dim("batch", 1, 64)
mlc.export("predict", predict, x=mlc.ShapeDtype((batch, SIZES[0]), "f32"))
mlc.export("hidden", lambda pair: [pair["a"] @ params[0][0], (pair["b"] * 2, None)],
           {"a": mlc.ShapeDtype((batch, SIZES[0]), "f32"), "b": mlc.ShapeDtype((3,), "f64")})  # fmt: skip
