"""The gradient with respect to classes."""

import mlc
import mlc.numpy as mnp


def loss(labels, logits):
    return mlc.nn.cross_entropy(logits, labels)


mlc.grad(loss)(mnp.zeros(4, dtype="i32"), mnp.ones((4, 10)))
# error: gradient_argument.py:11: mlc.grad(loss)(mnp.zeros(4, dtype="i32"), mnp.ones((4, 10)))
# error: grad of loss: argument labels is i32[4], which has no derivative
# error: hint: leave it out (by argnums, or close over it), or convert it with .astype('f32')
