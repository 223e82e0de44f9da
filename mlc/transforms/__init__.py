"""Transformations of functions: derivatives, by the rules of the op table."""

from __future__ import annotations

from . import control, elementary, rules, scanning
from .custom_pullback import custom_vjp
from .custom_tangents import custom_jvp
from .gradients import grad, value_and_grad
from .jacobians import hessian, jacfwd, jacrev
from .products import jvp, vjp
from .remat import checkpoint
from .stop import stop_gradient

__all__ = [
    "checkpoint",
    "custom_jvp",
    "custom_vjp",
    "grad",
    "hessian",
    "jacfwd",
    "jacrev",
    "jvp",
    "stop_gradient",
    "value_and_grad",
    "vjp",
]
