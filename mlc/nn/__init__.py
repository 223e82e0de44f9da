"""mlc.nn: activations, convolutions, pools, row functions, losses and initialisers, as pure functions."""

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
from .convolution import conv, conv_transpose
from .losses import cross_entropy
from .pooling import avg_pool, max_pool
from .regularization import dropout, layer_norm
from .rows import log_softmax, logsumexp, one_hot, softmax, top_k

__all__ = [
    "avg_pool", "conv", "conv_transpose", "cross_entropy", "dropout", "elu", "gelu", "hard_tanh", "init",
    "layer_norm", "leaky_relu", "log_sigmoid", "log_softmax", "logsumexp", "max_pool", "one_hot", "relu", "relu6",
    "sigmoid", "silu", "softmax", "softplus", "softsign", "swish", "tanh", "top_k",
]  # fmt: skip
