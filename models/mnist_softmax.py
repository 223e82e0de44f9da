"""Softmax regression: 1,000 steps of 100 images by gradient descent.

Commands:
    mlc data fetch mnist    # once; without it the digits that travel with mlc are used
    python models/mnist_softmax.py
    mlc compile models/mnist_softmax.py -o mnist_softmax.mlc
"""

import mlc
import mlc.numpy as mnp

STEPS, BATCH = 1000, 100

data = mlc.data.mnist_or_digits()
optimizer = mlc.optim.sgd(0.5)


def forward(params, images):
    """The logits of images: f32[n, classes] of f32[n, features]."""
    return images @ params["weight"] + params["bias"]


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


params = {"weight": mnp.zeros((data.features, data.classes)), "bias": mnp.zeros(data.classes)}
state = optimizer.init(params)
training = mlc.data.batches((data.train_images, data.train_labels), BATCH, seed=0, epochs=None)

for count, (images, labels) in zip(range(1, STEPS + 1), training, strict=False):
    params, state, value = step(params, state, images, labels)
    if count % 100 == 0:
        print(f"step {count:4} loss {float(value):.4f}")

print(f"test accuracy {float(accuracy(params, data.test_images, data.test_labels)):.3f}")

mlc.export(
    "predict",
    lambda x: {"probs": mlc.nn.softmax(forward(params, x))},
    x=mlc.ShapeDtype((mlc.dim("batch", 1, 64), data.features), "f32"),
)
