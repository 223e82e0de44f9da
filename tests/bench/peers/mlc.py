# python: $MLC_PYTHON
# kinds: train,infer,micro,dispatch
# title: mlc
"""mlc's column of the peer benchmark: the same programs as the JAX column's, through the public API only."""

import math

import numpy as np
from bench.common import Unsupported
from bench.workloads import is_buffer, mobilenet_blocks, resnet20_blocks, resnet50_blocks

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


def attention(q, k, v, causal=False):
    scores = mnp.einsum("bhqd,bhkd->bhqk", q, k) / math.sqrt(q.shape[-1])
    if causal:
        place = mnp.arange(scores.shape[-1])
        scores = mnp.where(place[:, None] >= place, scores, -math.inf)
    return mnp.einsum("bhqk,bhkd->bhqd", mlc.nn.softmax(scores, axis=-1), v)


def chain(p, d, c):
    x, y = d["x"], d["y"]
    t = mlc.nn.relu(x * 1.5 + y)
    t = mnp.sqrt(t * t + 1.0) - y
    return mnp.minimum(t * 0.5, 3.0) + x


def images_last(w, params, data):
    """Images NHWC, kernels HWIO, and what reads flattened images in their order; and the way back."""
    p = {}
    for name, v in params.items():
        if v.ndim == 4:
            v = v.transpose(2, 3, 1, 0)
        elif w.family == "cnn" and name == "fc1.w":
            v = v.reshape(w.cfg["c2"], 7, 7, -1).transpose(1, 2, 0, 3).reshape(v.shape)
        p[name] = np.ascontiguousarray(v)
    turned = w.family in ("cnn", "conv", "resnet20", "resnet50", "mobilenet")
    return p, {
        k: np.ascontiguousarray(v.transpose(0, 2, 3, 1)) if turned and v.ndim == 4 else v for k, v in data.items()
    }


def params_back(w, params):
    out = {}
    for name, v in params.items():
        v = np.asarray(v)
        if v.ndim == 4:
            v = v.transpose(3, 2, 0, 1)
        elif w.family == "cnn" and name == "fc1.w":
            v = v.reshape(7, 7, w.cfg["c2"], -1).transpose(2, 0, 1, 3).reshape(v.shape)
        out[name] = np.ascontiguousarray(v)
    return out


def conv(x, kernel, stride=1, pad=0, groups=1):
    return mlc.nn.conv(x, kernel, stride, pad, groups=groups)


def cnn(p, x, c):
    x = mlc.nn.max_pool(mlc.nn.relu(conv(x, p["c1.w"], pad=2) + p["c1.b"]), 2)
    x = mlc.nn.max_pool(mlc.nn.relu(conv(x, p["c2.w"], pad=2) + p["c2.b"]), 2)
    x = mlc.nn.relu(mnp.reshape(x, (x.shape[0], -1)) @ p["fc1.w"] + p["fc1.b"])
    return x @ p["fc2.w"] + p["fc2.b"]


def normalized(p, name, x):
    """Batch normalisation by running statistics."""
    scale = p[name + ".g"] / mnp.sqrt(p[name + ".rv"] + 1e-5)
    return x * scale + (p[name + ".b"] - p[name + ".rm"] * scale)


def normalize(p, name, x, buffers):
    """Batch normalisation by the batch's statistics, which the running ones follow."""
    mean = mnp.mean(x, axis=(0, 1, 2))
    variance = mnp.mean(mnp.square(x - mean), axis=(0, 1, 2))
    count = x.shape[0] * x.shape[1] * x.shape[2]
    buffers[name + ".rm"] = 0.9 * p[name + ".rm"] + 0.1 * mean
    buffers[name + ".rv"] = 0.9 * p[name + ".rv"] + 0.1 * variance * (count / (count - 1))
    return (x - mean) * (p[name + ".g"] / mnp.sqrt(variance + 1e-5)) + p[name + ".b"]


def resnet20(p, d, c):
    buffers = {}
    x = mlc.nn.relu(normalize(p, "bn0", conv(d["x"], p["c0.w"], pad=1), buffers))
    for n, _, _, stride in resnet20_blocks(c):
        y = mlc.nn.relu(normalize(p, n + ".bn1", conv(x, p[n + ".c1.w"], stride, 1), buffers))
        y = normalize(p, n + ".bn2", conv(y, p[n + ".c2.w"], 1, 1), buffers)
        if n + ".cs.w" in p:
            x = normalize(p, n + ".bns", conv(x, p[n + ".cs.w"], stride), buffers)
        x = mlc.nn.relu(x + y)
    return mlc.nn.cross_entropy(mnp.mean(x, axis=(1, 2)) @ p["fc.w"] + p["fc.b"], d["y"]), buffers


def resnet50(p, d, c):
    x = mlc.nn.relu(normalized(p, "bn0", conv(d["x"], p["c0.w"], 2, 3)))
    x = mlc.nn.max_pool(x, 3, 2, 1)
    for n, _, _, _, stride in resnet50_blocks(c):
        y = mlc.nn.relu(normalized(p, n + ".bn0", conv(x, p[n + ".c0.w"])))
        y = mlc.nn.relu(normalized(p, n + ".bn1", conv(y, p[n + ".c1.w"], stride, 1)))
        y = normalized(p, n + ".bn2", conv(y, p[n + ".c2.w"]))
        if n + ".cs.w" in p:
            x = normalized(p, n + ".bns", conv(x, p[n + ".cs.w"], stride))
        x = mlc.nn.relu(x + y)
    return mnp.mean(x, axis=(1, 2)) @ p["fc.w"] + p["fc.b"]


def mobilenet(p, d, c):
    relu6 = mlc.nn.relu6
    x = relu6(normalized(p, "bn0", conv(d["x"], p["c0.w"], 2, 1)))
    for n, i, hidden, o, stride in mobilenet_blocks(c):
        y = x
        if hidden != i:
            y = relu6(normalized(p, n + ".bne", conv(y, p[n + ".ce.w"])))
        y = relu6(normalized(p, n + ".bnd", conv(y, p[n + ".cd.w"], stride, 1, groups=hidden)))
        y = normalized(p, n + ".bnp", conv(y, p[n + ".cp.w"]))
        x = x + y if stride == 1 and i == o else y
    x = relu6(normalized(p, "bnl", conv(x, p["cl.w"])))
    return mnp.mean(x, axis=(1, 2)) @ p["fc.w"] + p["fc.b"]


def heads(x, c):
    """[batch, seq, d] -> [batch, heads, seq, d / heads]."""
    return mnp.permute_dims(mnp.reshape(x, (*x.shape[:2], c["heads"], -1)), (0, 2, 1, 3))


def joined(x):
    x = mnp.permute_dims(x, (0, 2, 1, 3))
    return mnp.reshape(x, (*x.shape[:2], -1))


def linear(p, name, x):
    return x @ p[name + ".w"] + p[name + ".b"]


def bert(p, d, c):
    h = layer_norm(p, "lne", p["wte"][d["x"]] + p["wpe"])
    for n in (f"h{i}." for i in range(c["layers"])):
        a = attention(*(heads(linear(p, n + m, h), c) for m in "qkv"))
        h = layer_norm(p, n + "ln1", h + linear(p, n + "o", joined(a)))
        inner = mlc.nn.gelu(linear(p, n + "fc", h), approximate=False)
        h = layer_norm(p, n + "ln2", h + linear(p, n + "fo", inner))
    return mnp.mean(h, axis=1)


def gpt(p, d, c):
    h = p["wte"][d["x"]] + p["wpe"]
    for n in (f"h{i}." for i in range(c["layers"])):
        qkv = mnp.split(layer_norm(p, n + "ln1", h) @ p[n + "qkv.w"], 3, axis=-1)
        h = h + joined(attention(*(heads(x, c) for x in qkv), causal=True)) @ p[n + "proj.w"]
        inner = mlc.nn.gelu(linear(p, n + "fc", layer_norm(p, n + "ln2", h)), approximate=False)
        h = h + linear(p, n + "fo", inner)
    logits = layer_norm(p, "lnf", h) @ p["head.w"]
    return mlc.nn.cross_entropy(mnp.reshape(logits, (-1, c["vocab"])), mnp.reshape(d["y"], (-1,)))


def lstm(p, x, c):
    h = p["emb"][x]
    for layer in (f"l{i}." for i in range(c["layers"])):
        wh = p[layer + "wh"]

        def cell(carry, gates, wh=wh):
            h, memory = carry
            i, f, g, o = mnp.split(gates + h @ wh, 4, axis=1)
            memory = mlc.nn.sigmoid(f) * memory + mlc.nn.sigmoid(i) * mnp.tanh(g)
            h = mlc.nn.sigmoid(o) * mnp.tanh(memory)
            return (h, memory), h

        start = mnp.zeros((x.shape[1], c["hidden"]))
        h = mlc.scan(cell, (start, start), h @ p[layer + "wx"] + p[layer + "b"])[1]
    return mnp.reshape(h, (-1, c["hidden"])) @ p["out.w"] + p["out.b"]


def word2vec(p, d, c):
    """Noise contrastive estimation: the derivative through the lookups finds the rows to update."""
    e = p["emb"][d["ctr"]]
    true = mnp.sum(e * p["nw"][d["lab"]], axis=1) + p["nb"][d["lab"]] - d["lq"]
    noise = e @ p["nw"][d["neg"]].T + p["nb"][d["neg"]] - d["nq"]
    return (mnp.sum(mlc.nn.softplus(-true)) + mnp.sum(mlc.nn.softplus(noise))) / e.shape[0]


LOSSES = {
    "softmaxreg": lambda p, d, c: mlc.nn.cross_entropy(d["x"] @ p["fc.w"] + p["fc.b"], d["y"]),
    "mlp": lambda p, d, c: mlc.nn.cross_entropy(mlp(p, d["x"], c), d["y"]),
    "cnn": lambda p, d, c: mlc.nn.cross_entropy(cnn(p, d["x"], c), d["y"]),
    "resnet20": resnet20,  # and the new running statistics
    "lstm": lambda p, d, c: mlc.nn.cross_entropy(lstm(p, d["x"], c), mnp.reshape(d["y"], (-1,))),
    "gpt": gpt,
    "w2v": word2vec,
}
FORWARDS = {
    "conv": lambda p, d, c: conv(d["x"], p["c.w"], 1, c["k"] // 2, c["groups"]),
    "resnet50": resnet50,
    "mobilenet": mobilenet,
    "mlp": lambda p, d, c: mlp(p, d["x"], c),
    "bert": bert,
    "lstm": lambda p, d, c: lstm(p, d["x"], c),
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

        def full_loss(trained, buffers, d):
            found = loss({**trained, **buffers}, d, w.cfg)
            return found if isinstance(found, tuple) else (found, {})

        def step(p, s, d):
            trained = {k: v for k, v in p.items() if not is_buffer(k)}
            buffers = {k: v for k, v in p.items() if is_buffer(k)}
            (value, buffers), grads = mlc.value_and_grad(full_loss, has_aux=True)(trained, buffers, d)
            trained, s = opt.update(trained, grads, s)
            return {**trained, **buffers}, s, value

        self.w = w
        self.host, data = images_last(w, params, data)
        self.init = lambda p: opt.init({k: v for k, v in p.items() if not is_buffer(k)})
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
        return {"p": params_back(self.w, self.p)}


class Forward:
    def __init__(self, w, params, data):
        forward = FORWARDS[w.family]
        self.w = w
        params, data = images_last(w, params, data)
        self.p, self.d = mlc.tree.map(mnp.asarray, params), mlc.tree.map(mnp.asarray, data)
        self.f = mlc.jit(lambda p, d: forward(p, d, w.cfg))

    def step(self):
        self.out = self.f(self.p, self.d)

    def get_outputs(self):
        out = np.asarray(self.out)
        return {"out": np.ascontiguousarray(out.transpose(0, 3, 1, 2)) if self.w.family == "conv" else out}


def build(w, params, data):
    table = LOSSES if w.kind == "train" else FORWARDS
    if w.family not in table:
        raise Unsupported(f"mlc has not what {w.family} needs yet")
    return (Train if w.kind == "train" else Forward)(w, params, data)
