"""The convolutional network of TensorFlow's tutorial (two convolutions, two dense layers, dropout), trained by Adam.

Commands:
    mlc data fetch mnist    # once; without it the digits that travel with mlc are used
    python models/mnist_cnn.py        # all steps, or as many as an argument says
    mlc launch -n 2 models/mnist_cnn.py --checkpoint folder    # the same steps, cut among 2 processes
    mlc compile models/mnist_cnn.py -o mnist_cnn.mlc
"""

import argparse

import mlc
import mlc.numpy as mnp
from mlc import distributed

WIDTHS, HIDDEN = (32, 64), 1024

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("steps", type=int, nargs="?", help="how many (default: 6000 of MNIST, 500 of the digits)")
parser.add_argument("--batch", type=int, default=64, help="images in a step, of all processes together")
parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
parser.add_argument("--checkpoint", metavar="FOLDER", help="keep checkpoints there, and go on from the last one")
parser.add_argument("--every", type=int, default=100, help="steps from one checkpoint to the next (default: 100)")
options = parser.parse_args()

data = mlc.data.mnist_or_digits()
steps = options.steps or (6000 if data.name == "mnist" else 500)
optimizer = mlc.optim.adam(lambda step: 1e-3 * (1 - step / steps))  # falls along a line to nothing
side = round(data.features**0.5)


def init(key):
    """Kernels [height, width, inputs, outputs] and weights [inputs, outputs]: He et al. (2015); biases are zeros."""
    shapes = [
        (5, 5, 1, WIDTHS[0]),
        (5, 5, WIDTHS[0], WIDTHS[1]),
        (side // 4 * (side // 4) * WIDTHS[1], HIDDEN),
        (HIDDEN, data.classes),
    ]
    keys = mlc.random.split(key, len(shapes))
    he = mlc.nn.init.he_normal()
    dtype = options.dtype
    return [
        {"weight": he(k, s, dtype), "bias": mnp.zeros(s[-1], dtype=dtype)} for k, s in zip(keys, shapes, strict=True)
    ]


def forward(params, images, drop=lambda x: x):
    """The logits of images: [n, classes] of [n, features]; ``drop`` is applied to the hidden layer."""
    x = mnp.reshape(images, (images.shape[0], side, side, 1))
    for layer in params[:2]:
        x = mlc.nn.max_pool(mlc.nn.relu(mlc.nn.conv(x, layer["weight"]) + layer["bias"]), 2)
    hidden, last = params[2:]
    x = mnp.reshape(x, (x.shape[0], -1))
    x = drop(mlc.nn.relu(x @ hidden["weight"] + hidden["bias"]))
    return x @ last["weight"] + last["bias"]


def loss(params, images, labels, key):
    logits = forward(params, images, lambda x: mlc.nn.dropout(key, 0.5, x))
    return mlc.nn.cross_entropy(logits, labels)


@distributed.data_parallel(batch_argnames=("images", "labels"))
@mlc.jit(donate_argnames=("params", "state"))
def step(params, state, images, labels, key):
    value, gradient = mlc.value_and_grad(loss)(params, images, labels, key)
    params, state = optimizer.update(params, gradient, state)
    return params, state, value


@mlc.jit
def hits(params, images, labels):
    return (forward(params, images).argmax(axis=1) == labels).sum()


params = init(mlc.random.key(0))
state = optimizer.init(params)
checkpoints = mlc.train.Checkpoints(options.checkpoint)
done, (params, state) = checkpoints.restore((params, state))
training = mlc.data.batches(
    (data.train_images.astype(options.dtype), data.train_labels), options.batch, seed=0, epochs=None,
    start=done, shard=(distributed.rank(), distributed.size()),
)  # fmt: skip

for count in mlc.train.progress(range(done + 1, steps + 1), steps, done=done):
    images, labels = next(training)
    params, state, value = step(params, state, images, labels, mlc.random.fold_in(mlc.random.key(1), count))
    if count % options.every == 0 or count == steps:
        checkpoints.save(count, (params, state))
    if count % 100 == 0 and distributed.rank() == 0:
        print(f"step {count:4} loss {float(value):.4f}", flush=True)

if distributed.rank() == 0:
    found, total = 0, len(data.test_labels)
    for begin in range(0, total, 500):
        part = slice(begin, begin + 500)
        found += int(hits(params, data.test_images[part].astype(options.dtype), data.test_labels[part]))
    print(f"test accuracy {found / total:.4f}")

mlc.export(
    "predict",
    lambda x: {"probs": mlc.nn.softmax(forward(params, x))},
    x=mlc.ShapeDtype((mlc.dim("batch", 1, 64), data.features), options.dtype),
)
