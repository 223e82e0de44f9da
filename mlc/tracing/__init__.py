"""Tracing: Python functions to graphs."""

from .composite import composite
from .lift import as_node, as_tracer, describe
from .location import device, scope, user_location
from .spec import ShapeDtype
from .trace import Traced, subtrace, trace
from .tracer import Trace, Tracer, current_trace
from .value import Value

__all__ = [
    "ShapeDtype", "Trace", "Traced", "Tracer", "Value", "as_node", "as_tracer", "composite", "current_trace",
    "describe", "device", "scope", "subtrace", "trace", "user_location",
]  # fmt: skip
