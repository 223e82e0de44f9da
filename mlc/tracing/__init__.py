"""Tracing: Python functions to graphs."""

from .composite import composite
from .lift import as_node, as_tracer, describe
from .location import device, scope, user_location
from .shapes import eval_shape
from .spec import ShapeDtype
from .trace import Traced, bind, subtrace, trace
from .tracer import Trace, Tracer, current_trace, outermost_trace
from .value import Value

__all__ = [
    "ShapeDtype", "Trace", "Traced", "Tracer", "Value", "as_node", "as_tracer", "bind", "composite", "current_trace",
    "describe", "device", "eval_shape", "outermost_trace", "scope", "subtrace", "trace", "user_location",
]  # fmt: skip
