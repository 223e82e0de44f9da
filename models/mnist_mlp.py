"""A network with two hidden layers of 512, trained by Adam.

Commands:
    mlc data fetch mnist    # once; without it the digits that travel with mlc are used
    python models/mnist_mlp.py
    mlc compile models/mnist_mlp.py -o mnist_mlp.mlc
"""

import mlc
import mlc.numpy as mnp

HIDDEN, BATCH = 512, 100

data = mlc.data.mnist_or_digits()
epochs = 4 if data.name == "mnist" else 20
steps = epochs * (len(data.train_labels) // BATCH)
optimizer = mlc.optim.adam(lambda step: 1e-3 * (1 - step / steps))  # falls along a line to nothing


def init(key, sizes):
    """Weights and biases of each layer; weights are normal with the variance 2 / inputs (He et al. 2015)."""
    keys = mlc.random.split(key, len(sizes) - 1)
    return [
        {"weight": mlc.random.normal(k, (n, m)) * (2 / n) ** 0.5, "bias": mnp.zeros(m)}
        for k, n, m in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]


def forward(params, images):
    """The logits of images: f32[n, classes] of f32[n, features]."""
    x = images
    for layer in params[:-1]:
        x = mlc.nn.relu(x @ layer["weight"] + layer["bias"])
    return x @ params[-1]["weight"] + params[-1]["bias"]


def loss(params, images, labels):
    return mlc.nn.cross_entropy(forward(params, images), labels)


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
training = mlc.data.batches((data.train_images, data.train_labels), BATCH, seed=0, epochs=epochs)

for count, (images, labels) in enumerate(training, 1):
    params, state, value = step(params, state, images, labels)
    if count % 100 == 0:
        print(f"step {count:4} loss {float(value):.4f}")

print(f"test accuracy {float(accuracy(params, data.test_images, data.test_labels)):.3f}")

mlc.export(
    "predict",
    lambda x: {"probs": mlc.nn.softmax(forward(params, x))},
    x=mlc.ShapeDtype((mlc.dim("batch", 1, 64), data.features), "f32"),
)
