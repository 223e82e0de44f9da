"""Transcendental functions and float remainders of f32 and f64 to polynomials and integer operations."""

from __future__ import annotations

from collections.abc import Callable

from mlc.ir.kernel import Instruction, Kernel, Value, Writer
from mlc.ir.types import F32, F64
from mlc.passes.kernels.math.arctangent import atan2
from mlc.passes.kernels.math.arithmetic import Lanes
from mlc.passes.kernels.math.cube_root import cube_root
from mlc.passes.kernels.math.error_function import erf
from mlc.passes.kernels.math.exponential import exponential, exponential_minus_one, logistic, tanh
from mlc.passes.kernels.math.logarithm import log, log_plus_one
from mlc.passes.kernels.math.power import power
from mlc.passes.kernels.math.remainder import remainder
from mlc.passes.kernels.math.trigonometric import cosine, sine, tan
from mlc.passes.kernels.rewrite import has_op, rewrite


def expand_math(kernel: Kernel) -> Kernel:
    """After it, f32 and f64 know only arithmetic, comparison, rounding, sqrt and fma.

    Errors stay within 2 units in the last place, over all of the arguments.
    """
    return rewrite(kernel, _expand) if has_op(kernel, _FUNCTIONS) else kernel


def _expand(w: Writer, n: Instruction) -> Value | None:
    function = _FUNCTIONS.get(n.op)
    if function is None or n.operands[0].dtype not in (F32, F64):
        return None
    return function(w, *n.operands)


def _rsqrt(w: Writer, x: Value) -> Value:
    m = Lanes.of(w, x)
    return m.div(m.c(1.0), w.op("sqrt", x))


_FUNCTIONS: dict[str, Callable[..., Value]] = {
    "exponential": exponential,
    "exponential_minus_one": exponential_minus_one,
    "log": log,
    "log_plus_one": log_plus_one,
    "tanh": tanh,
    "logistic": logistic,
    "rsqrt": _rsqrt,
    "sine": sine,
    "cosine": cosine,
    "tan": tan,
    "erf": erf,
    "power": power,
    "atan2": atan2,
    "cbrt": cube_root,
    "remainder": remainder,
}
