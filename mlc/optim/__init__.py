"""mlc.optim: optimizers, pure functions of trees: ``opt.init(params)``, ``opt.update(params, grads, state)``."""

from .adaptive import AdamState, adam, adamw
from .descent import MomentumState, SgdState, momentum, sgd
from .optimizer import Optimizer, Schedule

__all__ = [
    "AdamState", "MomentumState", "Optimizer", "Schedule", "SgdState", "adam", "adamw", "momentum", "sgd",
]  # fmt: skip
