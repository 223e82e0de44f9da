"""mlc: a compiler from machine-learning programs in Python to native code.

Every public name is imported on first use (PEP 562), so that ``import mlc`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import data as data
    from . import distributed as distributed
    from . import nn as nn
    from . import numpy as numpy
    from . import optim as optim
    from . import random as random
    from . import train as train
    from . import tree as tree
    from .array import Array as Array
    from .array import device_put as device_put
    from .artifact import export as export
    from .artifact import load as load
    from .control import cond as cond
    from .control import fori_loop as fori_loop
    from .control import scan as scan
    from .control import switch as switch
    from .control import while_loop as while_loop
    from .distributed import all_reduce as all_reduce
    from .errors import MlcError as MlcError
    from .errors import Notice as Notice
    from .explain import explain_cache as explain_cache
    from .ir.dims import dim as dim
    from .staging import jit as jit
    from .thread_limit import threads as threads
    from .tracing import ShapeDtype as ShapeDtype
    from .tracing import device as device
    from .tracing import eval_shape as eval_shape
    from .tracing import scope as scope
    from .transforms import checkpoint as checkpoint
    from .transforms import custom_jvp as custom_jvp
    from .transforms import custom_vjp as custom_vjp
    from .transforms import grad as grad
    from .transforms import hessian as hessian
    from .transforms import jacfwd as jacfwd
    from .transforms import jacrev as jacrev
    from .transforms import jvp as jvp
    from .transforms import stop_gradient as stop_gradient
    from .transforms import value_and_grad as value_and_grad
    from .transforms import vjp as vjp

__version__ = "0.1.0"

_MODULES = ("data", "distributed", "nn", "numpy", "optim", "random", "train", "tree")
_NAMES = {
    "Array": "array",
    "MlcError": "errors",
    "Notice": "errors",
    "ShapeDtype": "tracing",
    "all_reduce": "distributed",
    "checkpoint": "transforms",
    "cond": "control",
    "custom_jvp": "transforms",
    "custom_vjp": "transforms",
    "device": "tracing",
    "device_put": "array",
    "dim": "ir.dims",
    "eval_shape": "tracing",
    "explain_cache": "explain",
    "export": "artifact",
    "fori_loop": "control",
    "grad": "transforms",
    "hessian": "transforms",
    "jacfwd": "transforms",
    "jacrev": "transforms",
    "jit": "staging",
    "jvp": "transforms",
    "load": "artifact",
    "scan": "control",
    "scope": "tracing",
    "stop_gradient": "transforms",
    "threads": "thread_limit",
    "switch": "control",
    "value_and_grad": "transforms",
    "vjp": "transforms",
    "while_loop": "control",
}

__all__ = [*_MODULES, *_NAMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _NAMES:
        raise AttributeError(f"module 'mlc' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
