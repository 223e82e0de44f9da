"""A network with two hidden layers of 512, trained by Adam, on one process or on many.

Commands:
    mlc data fetch mnist    # once; without it the digits that travel with mlc are used
    python models/mnist_mlp.py
    mlc launch -n 4 models/mnist_mlp.py --checkpoint folder    # the same steps, cut among 4 processes
    mlc compile models/mnist_mlp.py -o mnist_mlp.mlc
"""

import argparse

import mlc
import mlc.numpy as mnp
from mlc import distributed

HIDDEN = 512

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("steps", type=int, nargs="?", help="how many (default: 4 epochs of MNIST, 20 of the digits)")
parser.add_argument("--batch", type=int, default=100, help="images in a step, of all processes together")
parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
parser.add_argument("--checkpoint", metavar="FOLDER", help="keep checkpoints there, and go on from the last one")
parser.add_argument("--every", type=int, default=100, help="steps from one checkpoint to the next (default: 100)")
options = parser.parse_args()

data = mlc.data.mnist_or_digits()
epochs = 4 if data.name == "mnist" else 20
steps = options.steps or epochs * (len(data.train_labels) // options.batch)
optimizer = mlc.optim.adam(lambda step: 1e-3 * (1 - step / steps))  # falls along a line to nothing


def init(key, sizes):
    """Weights and biases of each layer; weights are normal with the variance 2 / inputs (He et al. 2015)."""
    keys = mlc.random.split(key, len(sizes) - 1)
    return [
        {
            "weight": mlc.random.normal(k, (n, m), options.dtype) * (2 / n) ** 0.5,
            "bias": mnp.zeros(m, dtype=options.dtype),
        }
        for k, n, m in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]


def forward(params, images):
    """The logits of images: [n, classes] of [n, features]."""
    x = images
    for layer in params[:-1]:
        x = mlc.nn.relu(x @ layer["weight"] + layer["bias"])
    return x @ params[-1]["weight"] + params[-1]["bias"]


def loss(params, images, labels):
    return mlc.nn.cross_entropy(forward(params, images), labels)


@distributed.data_parallel(batch_argnames=("images", "labels"))
@mlc.jit(donate_argnames=("params", "state"))
def step(params, state, images, labels):
    value, gradient = mlc.value_and_grad(loss)(params, images, labels)
    params, state = optimizer.update(params, gradient, state)
    return params, state, value


@mlc.jit
def accuracy(params, images, labels):
    return (forward(params, images).argmax(axis=1) == labels).astype("f32").mean()


params = init(mlc.random.key(0), (data.features, HIDDEN, HIDDEN, data.classes))
state = optimizer.init(params)
checkpoints = mlc.train.Checkpoints(options.checkpoint)
done, (params, state) = checkpoints.restore((params, state))
training = mlc.data.batches(
    (data.train_images.astype(options.dtype), data.train_labels), options.batch, seed=0, epochs=None,
    start=done, shard=(distributed.rank(), distributed.size()),
)  # fmt: skip

for count in mlc.train.progress(range(done + 1, steps + 1), steps, done=done):
    images, labels = next(training)
    params, state, value = step(params, state, images, labels)
    if count % options.every == 0 or count == steps:
        checkpoints.save(count, (params, state))
    if count % 100 == 0 and distributed.rank() == 0:
        print(f"step {count:4} loss {float(value):.4f}")

if distributed.rank() == 0:
    test_images = data.test_images.astype(options.dtype)
    print(f"test accuracy {float(accuracy(params, test_images, data.test_labels)):.3f}")

mlc.export(
    "predict",
    lambda x: {"probs": mlc.nn.softmax(forward(params, x))},
    x=mlc.ShapeDtype((mlc.dim("batch", 1, 64), data.features), options.dtype),
)
