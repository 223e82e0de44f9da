"""fori_loop: a loop that counts, as a scan where it is known how far, so that it has gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import DTypeError
from ..tracing import as_tracer, user_location
from ..transforms.call import at_users_line, name_of
from .loops import while_inside
from .region import anywhere
from .scanning import scan_inside


def fori_loop(lower: Any, upper: Any, body_fun: Callable[[Any, Any], Any], init_val: Any) -> Any:
    """``val = init_val``; for ``i`` from ``lower`` to ``upper`` (without it): ``val = body_fun(i, val)``; then ``val``.

    ``lower`` and ``upper`` are integers or traced integers; ``val`` is as in ``while_loop``. With Python integers the
    loop can be differentiated both ways.

    Example:
        >>> import mlc
        >>> float(mlc.fori_loop(0, 5, lambda i, total: total + i, 0.0))
        10.0
    """
    if type(lower) is int and type(upper) is int:
        return anywhere("fori_loop", _fixed, init_val, body_fun=body_fun, lower=lower, upper=upper)
    return anywhere("fori_loop", _fori, lower, upper, init_val, body_fun=body_fun)


def _fixed(init_val: Any, body_fun: Callable[[Any, Any], Any], lower: int, upper: int) -> Any:
    with at_users_line():
        name = f"fori_loop: {name_of(body_fun)}"

        def step(carry: tuple[Any, Any], _: None) -> tuple[Any, None]:
            return (carry[0] + 1, body_fun(*carry)), None

        return scan_inside((lower, init_val), None, step, max(upper - lower, 0), False, name)[0][1]


def _fori(lower: Any, upper: Any, init_val: Any, body_fun: Callable[[Any, Any], Any]) -> Any:
    with at_users_line():
        first, last = as_tracer(lower, name="fori_loop: lower"), as_tracer(upper, name="fori_loop: upper")
        for what, x in (("lower", first), ("upper", last)):
            if not x.dtype.is_integer or x.shape != ():
                raise DTypeError(f"fori_loop: {what} is {x.node.type}, not one integer", location=str(user_location()))
        if first.dtype != last.dtype:
            weak, other = (first, last) if first.weak else (last, first)
            if not weak.weak:
                raise DTypeError(
                    f"fori_loop: lower is {first.node.type}, upper is {last.node.type}",
                    location=str(user_location()), hint="convert one of them with .astype",
                )  # fmt: skip
            first, last = (x.astype(other.dtype) for x in (first, last))
        return while_inside((first, init_val), lambda v: v[0] < last, lambda v: (v[0] + 1, body_fun(*v)))[1]
