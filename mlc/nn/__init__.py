"""mlc.nn: activations, row functions, losses and initialisers of neural networks, as pure functions."""

from . import init
from .activations import (
    elu,
    gelu,
    hard_tanh,
    leaky_relu,
    log_sigmoid,
    relu,
    relu6,
    sigmoid,
    silu,
    softplus,
    softsign,
    swish,
    tanh,
)  # fmt: skip
from .losses import cross_entropy
from .rows import log_softmax, logsumexp, one_hot, softmax

__all__ = [
    "cross_entropy", "elu", "gelu", "hard_tanh", "init", "leaky_relu", "log_sigmoid", "log_softmax",
    "logsumexp", "one_hot", "relu", "relu6", "sigmoid", "silu", "softmax", "softplus", "softsign", "swish",
    "tanh",
]  # fmt: skip
