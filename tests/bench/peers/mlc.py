# python: $MLC_PYTHON
# kinds: train,infer,micro,dispatch
# title: mlc
"""mlc's column of the peer benchmark: the same programs as the JAX column's, through the public API only."""

import math

import numpy as np
from bench.common import Unsupported

import mlc
import mlc.numpy as mnp


def warm_import(w):
    mlc.jit(lambda x: x + 1)(np.ones(4, np.float32)).block_until_ready()


def mlp(p, x, c):
    n = len(c["dims"]) - 1
    for i in range(n):
        x = x @ p[f"fc{i}.w"] + p[f"fc{i}.b"]
        x = mlc.nn.relu(x) if i < n - 1 else x
    return x


def layer_norm(p, name, x):
    m = mnp.mean(x, axis=-1, keepdims=True)
    v = mnp.mean(mnp.square(x - m), axis=-1, keepdims=True)
    return (x - m) / mnp.sqrt(v + 1e-5) * p[name + ".g"] + p[name + ".b"]


def attention(q, k, v):
    scores = mnp.einsum("bhqd,bhkd->bhqk", q, k) / math.sqrt(q.shape[-1])
    return mnp.einsum("bhqk,bhkd->bhqd", mlc.nn.softmax(scores, axis=-1), v)


def chain(p, d, c):
    x, y = d["x"], d["y"]
    t = mlc.nn.relu(x * 1.5 + y)
    t = mnp.sqrt(t * t + 1.0) - y
    return mnp.minimum(t * 0.5, 3.0) + x


LOSSES = {
    "softmaxreg": lambda p, d, c: mlc.nn.cross_entropy(d["x"] @ p["fc.w"] + p["fc.b"], d["y"]),
    "mlp": lambda p, d, c: mlc.nn.cross_entropy(mlp(p, d["x"], c), d["y"]),
}
FORWARDS = {
    "mlp": lambda p, d, c: mlp(p, d["x"], c),
    "matmul": lambda p, d, c: d["a"] @ d["b"],
    "softmax": lambda p, d, c: mlc.nn.softmax(d["x"], axis=-1),
    "layernorm": lambda p, d, c: layer_norm(p, "ln", d["x"]),
    "gelu": lambda p, d, c: mlc.nn.gelu(d["x"], approximate=False),
    "sum": lambda p, d, c: mnp.sum(d["x"]),
    "rowsum": lambda p, d, c: mnp.sum(d["x"], axis=1),
    "chain": chain,
    "attention": lambda p, d, c: attention(d["q"], d["k"], d["v"]),
    "add4": lambda p, d, c: d["a"] + d["b"],
}


def optimizer(o):
    """The optimiser that the workload names."""
    if o["name"] == "sgd":
        return mlc.optim.sgd(o["lr"])
    if o["name"] == "momentum":
        return mlc.optim.momentum(o["lr"], o["mu"])
    if o["wd"]:
        return mlc.optim.adamw(o["lr"], b1=o["b1"], b2=o["b2"], eps=o["eps"], weight_decay=o["wd"])
    return mlc.optim.adam(o["lr"], b1=o["b1"], b2=o["b2"], eps=o["eps"])


class Train:
    def __init__(self, w, params, data):
        loss, opt = LOSSES[w.family], optimizer(w.opt)

        def step(p, s, d):
            value, grads = mlc.value_and_grad(lambda p: loss(p, d, w.cfg))(p)
            p, s = opt.update(p, grads, s)
            return p, s, value

        self.host, self.init = params, opt.init
        self.d = mlc.tree.map(mnp.asarray, data)
        self.f = mlc.jit(step, donate_argnames=("p", "s"))
        self.reset()

    def reset(self):
        self.p = mlc.tree.map(mnp.asarray, self.host)
        self.s = self.init(self.p)

    def step(self):
        self.p, self.s, self.loss = self.f(self.p, self.s, self.d)

    def get_loss(self):
        return float(self.loss)

    def get_outputs(self):
        return {"p": {k: np.asarray(v) for k, v in self.p.items()}}


class Forward:
    def __init__(self, w, params, data):
        forward = FORWARDS[w.family]
        self.p, self.d = mlc.tree.map(mnp.asarray, params), mlc.tree.map(mnp.asarray, data)
        self.f = mlc.jit(lambda p, d: forward(p, d, w.cfg))

    def step(self):
        self.out = self.f(self.p, self.d)

    def get_outputs(self):
        return {"out": np.asarray(self.out)}


def build(w, params, data):
    table = LOSSES if w.kind == "train" else FORWARDS
    if w.family not in table:
        raise Unsupported(f"mlc has not what {w.family} needs yet")
    return (Train if w.kind == "train" else Forward)(w, params, data)
