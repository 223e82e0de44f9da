"""Labels as floats."""

import mlc
import mlc.numpy as mnp


@mlc.jit
def loss(logits, labels):
    return mlc.nn.cross_entropy(mnp.tanh(logits), labels)


loss.lower(mlc.ShapeDtype((32, 10)), mlc.ShapeDtype((32,)))
# error: labels.py:9: return mlc.nn.cross_entropy(mnp.tanh(logits), labels)
# error: cross_entropy: logits are f32[32,10], labels are f32[32]; probabilities have shape [32,10]
# error: hint: classes are integers: convert the labels with .astype('i64')
