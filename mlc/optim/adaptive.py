"""Adam (Kingma and Ba, 2015) and AdamW (Loshchilov and Hutter, 2019)."""

from __future__ import annotations

from typing import Any, NamedTuple

from mlc import numpy as mnp

from .optimizer import Optimizer, Schedule, as_real, each, first_step, rate_at, zeros_for


class AdamState(NamedTuple):
    """Steps taken, and the running means of the gradients and of their squares."""

    step: Any
    mean: Any
    square: Any


def adam(learning_rate: float | Schedule, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Optimizer:
    """``p - rate * m / (sqrt(s) + eps)`` with running means m, s of g and g^2 corrected for their start at 0.

    Example:
        >>> import mlc
        >>> opt = mlc.optim.adam(0.1)
        >>> params = mlc.numpy.asarray([1.0])
        >>> params, state = opt.update(params, params, opt.init(params))
        >>> round(float(params[0]), 4), int(state.step)
        (0.9, 1)
    """
    return _adam(learning_rate, b1, b2, eps, 0.0)


def adamw(
    learning_rate: float | Schedule, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, weight_decay: float = 1e-4
) -> Optimizer:
    """Adam with decoupled weight decay: ``p - rate * (m / (sqrt(s) + eps) + weight_decay * p)``.

    Example:
        >>> import mlc
        >>> opt = mlc.optim.adamw(0.1, weight_decay=0.5)
        >>> params = mlc.numpy.asarray([1.0])
        >>> params, state = opt.update(params, params, opt.init(params))
        >>> round(float(params[0]), 4), int(state.step)
        (0.85, 1)
    """
    return _adam(learning_rate, b1, b2, eps, weight_decay)


def _adam(learning_rate: float | Schedule, b1: float, b2: float, eps: float, weight_decay: float) -> Optimizer:
    def init(params: Any) -> AdamState:
        return AdamState(first_step(), zeros_for(params), zeros_for(params))

    def update(params: Any, grads: Any, state: AdamState) -> tuple[Any, AdamState]:
        rate, count = rate_at(learning_rate, state.step), state.step + 1

        def step(p: Any, g: Any, mean: Any, square: Any) -> tuple[Any, Any, Any]:
            t = as_real(count, p)
            mean = b1 * mean + (1 - b1) * g
            square = b2 * square + (1 - b2) * (g * g)
            scale, of_square = 1 / (1 - mnp.pow(b1, t)), 1 / (1 - mnp.pow(b2, t))  # divided once, not for each element
            change = (mean * scale) / (mnp.sqrt(square * of_square) + eps)
            if weight_decay:
                change = change + weight_decay * p
            return p - rate * change, mean, square

        new, mean, square = each(step, 3, params, grads, state.mean, state.square)
        return new, AdamState(count, mean, square)

    return Optimizer(init, update)
