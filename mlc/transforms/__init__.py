"""Transformations of functions: derivatives, by the rules of the op table."""

from __future__ import annotations

from . import control, rules, scanning
from .gradients import grad, value_and_grad
from .products import jvp, vjp
from .stop import stop_gradient

__all__ = ["grad", "jvp", "stop_gradient", "value_and_grad", "vjp"]
