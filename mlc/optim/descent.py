"""Gradient descent, plain and with momentum."""

from __future__ import annotations

from typing import Any, NamedTuple

from .optimizer import Optimizer, Schedule, each, first_step, rate_at, zeros_for


class SgdState(NamedTuple):
    step: Any


class MomentumState(NamedTuple):
    step: Any
    velocity: Any


def sgd(learning_rate: float | Schedule) -> Optimizer:
    """``p - rate * g``. ``learning_rate`` is a number or a function of the step count.

    Example:
        >>> import mlc
        >>> opt = mlc.optim.sgd(0.5)
        >>> params = mlc.numpy.asarray([1.0])
        >>> params, state = opt.update(params, params, opt.init(params))
        >>> round(float(params[0]), 4), int(state.step)
        (0.5, 1)
    """

    def init(params: Any) -> SgdState:
        return SgdState(first_step())

    def update(params: Any, grads: Any, state: SgdState) -> tuple[Any, SgdState]:
        rate = rate_at(learning_rate, state.step)
        (new,) = each(lambda p, g: (p - rate * g,), 1, params, grads)
        return new, SgdState(state.step + 1)

    return Optimizer(init, update)


def momentum(learning_rate: float | Schedule, decay: float = 0.9, *, nesterov: bool = False) -> Optimizer:
    """``v = decay * v + g``; ``p - rate * v``, with ``nesterov`` ``p - rate * (g + decay * v)`` (Sutskever, 2013).

    Example:
        >>> import mlc
        >>> opt = mlc.optim.momentum(0.5, nesterov=True)
        >>> params = mlc.numpy.asarray([1.0])
        >>> params, state = opt.update(params, params, opt.init(params))
        >>> round(float(params[0]), 4), int(state.step)
        (0.05, 1)
    """

    def init(params: Any) -> MomentumState:
        return MomentumState(first_step(), zeros_for(params))

    def update(params: Any, grads: Any, state: MomentumState) -> tuple[Any, MomentumState]:
        rate = rate_at(learning_rate, state.step)

        def step(p: Any, g: Any, v: Any) -> tuple[Any, Any]:
            v = decay * v + g
            return p - rate * (g + decay * v if nesterov else v), v

        new, velocity = each(step, 2, params, grads, state.velocity)
        return new, MomentumState(state.step + 1, velocity)

    return Optimizer(init, update)
