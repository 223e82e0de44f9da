"""Steps as users write them for one process, each with arguments for a batch of eight, in f64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import mlc
import mlc.numpy as mnp

RNG = np.random.default_rng(0)
BATCH = 8
Step = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], tuple[str, ...]]
STEPS: dict[str, Callable[[], Step]] = {}


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


def step(batch: tuple[str, ...] = ("x", "y")) -> Callable[..., Any]:
    """Registers a function of parameters and a batch that gives the function to test and its arguments."""

    def add(make: Callable[[], tuple[Callable[..., Any], dict[str, Any]]]) -> Callable[..., Any]:
        def made() -> Step:
            function, named = make()
            return function, (), named, tuple(n for n in batch if n in named)

        STEPS[make.__name__] = made
        return make

    return add


@step()
def dense_dropout_adam() -> Any:
    optimizer = mlc.optim.adam(1e-2)

    def loss(p: Any, x: Any, y: Any, key: Any) -> Any:
        h = mlc.nn.dropout(key, 0.5, mlc.nn.relu(x @ p["w1"] + p["b1"]))
        return mlc.nn.cross_entropy(h @ p["w2"] + p["b2"], y)

    def update(p: Any, state: Any, x: Any, y: Any, key: Any) -> Any:
        value, gradient = mlc.value_and_grad(loss)(p, x, y, key)
        p, state = optimizer.update(p, gradient, state)
        return p, state, value

    p = {"w1": normal(5, 16), "b1": normal(16), "w2": normal(16, 3), "b2": normal(3)}
    return update, {"p": p, "state": optimizer.init(p), "x": normal(BATCH, 5), "y": RNG.integers(0, 3, BATCH),
                    "key": np.array([3, 4], np.uint32)}  # fmt: skip


@step()
def convolution_pool_normalize() -> Any:
    def forward(p: Any, x: Any) -> Any:
        h = mlc.nn.max_pool(mlc.nn.conv(x, p["kernel"]), 2)
        mean, var = mnp.mean(h, axis=(0, 1, 2)), mnp.var(h, axis=(0, 1, 2))
        h = mlc.nn.relu((h - mean) / mnp.sqrt(var + 1e-3) * p["scale"])
        return mnp.reshape(h, (h.shape[0], -1)) @ p["last"], mean

    def loss(p: Any, x: Any, y: Any) -> Any:
        logits, mean = forward(p, x)
        hits = mnp.mean(mnp.astype(mnp.argmax(logits, axis=1) == y, "f64"))
        return mlc.nn.cross_entropy(logits, y), (mean, hits)

    def update(p: Any, x: Any, y: Any) -> Any:
        (value, aux), gradient = mlc.value_and_grad(loss, has_aux=True)(p, x, y)
        return mlc.tree.map(lambda a, g: a - 0.1 * g, p, gradient), value, aux

    p = {"kernel": normal(3, 3, 2, 4), "scale": normal(4), "last": normal(3 * 3 * 4, 3)}
    return update, {"p": p, "x": normal(BATCH, 6, 6, 2), "y": RNG.integers(0, 3, BATCH)}


@step()
def embedding_attention() -> Any:
    def loss(p: Any, x: Any, y: Any) -> Any:
        h = mnp.take(p["table"], x, axis=0)
        q, k, v = h @ p["q"], h @ p["k"], h @ p["v"]
        scores = mlc.nn.softmax(q @ mnp.matrix_transpose(k) / 2.0)
        h = h + scores @ v
        mean = mnp.mean(h, axis=-1, keepdims=True)
        h = (h - mean) / mnp.sqrt(mnp.mean((h - mean) ** 2, axis=-1, keepdims=True) + 1e-5)
        return mnp.mean((mnp.mean(h, axis=1) @ p["out"] - y) ** 2)

    def update(p: Any, x: Any, y: Any) -> Any:
        value, gradient = mlc.value_and_grad(loss)(p, x, y)
        return mlc.tree.map(lambda a, g: a - 0.1 * g, p, gradient), value

    p = {"table": normal(11, 4), "q": normal(4, 4), "k": normal(4, 4), "v": normal(4, 4), "out": normal(4, 2)}
    return update, {"p": p, "x": RNG.integers(0, 11, (BATCH, 5)), "y": normal(BATCH, 2)}


@step()
def recurrent_scan() -> Any:
    """Time is the first axis inside of the scan, so that rows are its second."""

    def loss(p: Any, x: Any, y: Any) -> Any:
        def cell(h: Any, now: Any) -> Any:
            h = mnp.tanh(now @ p["w"] + h @ p["u"])
            return h, mnp.sum(h, axis=1)

        last, sums = mlc.scan(cell, mnp.zeros((x.shape[0], 4), dtype="f64"), mnp.permute_dims(x, (1, 0, 2)))
        return mnp.mean((last - y) ** 2) + mnp.mean(sums) * 0.1

    def update(p: Any, x: Any, y: Any) -> Any:
        value, gradient = mlc.value_and_grad(loss)(p, x, y)
        return mlc.tree.map(lambda a, g: a - 0.1 * g, p, gradient), value

    return update, {"p": {"w": normal(3, 4), "u": normal(4, 4)}, "x": normal(BATCH, 5, 3), "y": normal(BATCH, 4)}


@step()
def statistics_of_the_batch() -> Any:
    def update(x: Any, y: Any) -> Any:
        return {
            "max": mnp.max(x, axis=0), "min": mnp.min(x), "prod": mnp.prod(x, axis=(0, 2)), "any": mnp.any(x > 2),
            "all": mnp.all(y < 2, axis=0), "count": mnp.sum(y == 1), "std": mnp.std(x, axis=0),
            "rows": mnp.sum(mnp.sort(x, axis=2) * mnp.cumulative_sum(x, axis=1), axis=(1, 2)),
            "norm": x / mnp.sqrt(mnp.sum(x * x)), "weighted": mnp.sum(x * 2.0, axis=0) / 3.0 - mnp.sum(x, axis=0),
        }  # fmt: skip

    return update, {"x": normal(BATCH, 3, 4), "y": RNG.integers(0, 3, BATCH)}


@step()
def rows_against_rows() -> Any:
    """What no rule keeps cut: all of the batch on every rank."""

    def update(x: Any, y: Any) -> Any:
        near = x @ mnp.permute_dims(x, (1, 0))
        order = mnp.argsort(y)
        return {
            "near": near, "sorted": mnp.sort(x, axis=0), "turned": mnp.flip(x, axis=0), "some": x[2:5] * 2.0,
            "running": mnp.cumulative_sum(x, axis=0), "chosen": mnp.take(x, order, axis=0),
            "joined": mnp.concat([x, x + 1.0], axis=0), "flat": mnp.reshape(x, (-1,)), "moved": mnp.roll(x, 1, axis=0),
            "pairs": mnp.reshape(x, (4, 6)) * 3.0, "folded": mnp.sum(mnp.reshape(x, (2, 4, 3)), axis=0),
            "place": mnp.arange(8) * y, "one": x[3], "outer": mnp.sum(x[:, None, :] * x[None, :, :], axis=2),
        }  # fmt: skip

    return update, {"x": normal(BATCH, 3), "y": RNG.integers(0, 9, BATCH)}


@step()
def loops_and_branches() -> Any:
    def update(w: Any, x: Any, y: Any) -> Any:
        def more(carry: Any) -> Any:
            i, _, total = carry
            return (i < 4) & (total < 1e6)

        def trip(carry: Any) -> Any:
            i, x, total = carry
            x = x * 1.5 + y[:, None]
            return i + 1, x, total + mnp.sum(x * x)

        count, x2, total = mlc.while_loop(more, trip, (0, x, 0.0 * w[0]))
        best = mlc.cond(total > 50.0, lambda a: (a * 2.0, mnp.sum(a)), lambda a: (a + w, mnp.max(a)), x2)
        mean = mlc.fori_loop(0, 3, lambda i, m: m * 0.5 + mnp.mean(x2, axis=0), w)
        return count, x2, total, best, mean

    return update, {"w": normal(3), "x": normal(BATCH, 3), "y": normal(BATCH)}


@step()
def jitted_inside_and_a_closure() -> Any:
    shared = normal(3, 3)
    inner = mlc.jit(lambda x: mlc.nn.log_softmax(x @ shared))

    def update(w: Any, x: Any, y: Any) -> Any:
        def loss(w: Any) -> Any:
            return -mnp.mean(mnp.take_along_axis(inner(x * w), y[:, None], axis=1))

        gradient = mlc.grad(mlc.checkpoint(loss))(w)
        noise = mlc.random.normal(mlc.random.key(7), x.shape, "f64")
        return w - gradient, mnp.sum(noise * x), gradient + mlc.grad(loss)(w)

    return update, {"w": normal(3), "x": normal(BATCH, 3), "y": RNG.integers(0, 3, BATCH)}


@step()
def clipped_with_counters_and_metrics() -> Any:
    """The key and counters are state; gradients are clipped by the norm of all; metrics come out of the loss."""

    def loss(p: Any, key: Any, x: Any, y: Any) -> Any:
        logits = mlc.nn.dropout(key, 0.3, mlc.nn.gelu(x @ p["w1"])) @ p["w2"]
        hits = mnp.argmax(logits, axis=1) == y
        return mlc.nn.cross_entropy(logits, y), {"hits": mnp.sum(hits), "worst": mnp.max(mnp.abs(logits))}

    def update(state: Any, x: Any, y: Any) -> Any:
        key = mlc.random.split(state["key"])
        (value, metrics), gradient = mlc.value_and_grad(loss, has_aux=True)(state["p"], key[0], x, y)
        norm = mnp.sqrt(sum(mnp.sum(g * g) for g in mlc.tree.leaves(gradient)))
        p = mlc.tree.map(lambda a, g: a - 0.1 * g * mnp.minimum(1.0, 0.1 / norm), state["p"], gradient)
        seen = state["seen"] + x.shape[0]
        counts = state["counts"] + mnp.sum(mnp.astype(y[:, None] == mnp.arange(3), "i32"), axis=0)
        return {"p": p, "key": key[1], "seen": seen, "counts": counts}, value, norm, metrics

    state = {"p": {"w1": normal(5, 16), "w2": normal(16, 3)}, "key": np.array([3, 4], np.uint32),
             "seen": np.int32(0), "counts": np.zeros(3, np.int32)}  # fmt: skip
    return update, {"state": state, "x": normal(BATCH, 5), "y": RNG.integers(0, 3, BATCH)}


@step()
def contrasted_pairs() -> Any:
    """Every row against every other, labels by position, the hardest other row."""

    def loss(p: Any, x: Any, y: Any) -> Any:
        u, v = x @ p["u"], y @ p["v"]
        u = u / mnp.sqrt(mnp.sum(u * u, axis=1, keepdims=True))
        scores = u @ mnp.matrix_transpose(v) * mnp.exp(p["scale"])
        own = mnp.arange(x.shape[0])
        hardest = mnp.max(mnp.where(own[:, None] == own, -1e9, scores), axis=1)
        both = mlc.nn.cross_entropy(scores, own) + mlc.nn.cross_entropy(mnp.matrix_transpose(scores), own)
        return both + 0.01 * mnp.mean(hardest), mnp.sum(mnp.argmax(scores, axis=1) == own)

    def update(p: Any, x: Any, y: Any) -> Any:
        (value, hits), gradient = mlc.value_and_grad(loss, has_aux=True)(p, x, y)
        return mlc.tree.map(lambda a, g: a - 0.1 * g, p, gradient), value, hits

    p = {"u": normal(5, 4), "v": normal(3, 4), "scale": np.float64(0.5)}
    return update, {"p": p, "x": normal(BATCH, 5), "y": normal(BATCH, 3)}


@step()
def microbatches_of_weighted_classes() -> Any:
    """Rows of the batch as two parts one after another, a schedule by a branch, the median row."""

    def update(p: Any, now: Any, x: Any, y: Any) -> Any:
        kinds = mnp.astype(y[:, None] == mnp.arange(3), "f64")
        weight = 1.0 / (1.0 + mnp.sum(kinds, axis=0))

        def part(total: Any, rows: Any) -> Any:
            def loss(p: Any) -> Any:
                return -mnp.mean(mnp.sum(rows[1] * weight * mlc.nn.log_softmax(rows[0] @ p), axis=1))

            value, gradient = mlc.value_and_grad(loss)(p)
            return total + gradient, value

        parts = [mnp.reshape(a, (2, -1, a.shape[1])) for a in (x, kinds)]
        gradient, values = mlc.scan(part, mnp.zeros((5, 3), dtype="f64"), parts)
        rate = mlc.cond(now < 2, lambda: mnp.asarray(0.1), lambda: mnp.asarray(0.01))
        return p - rate * gradient / 2, now + 1, values, mnp.sort(x[:, 0])[4]

    return update, {"p": normal(5, 3), "now": np.int32(2), "x": normal(BATCH, 5), "y": RNG.integers(0, 3, BATCH)}
