"""The Plan: what a compiled function does, as data - launches and copies over planned memory, walked by the C runtime.

Example:
    >>> from mlc.ir.plan import Plan, decode, encode
    >>> plan = Plan("nothing", (), (), (), (), 0, 0, (), ())
    >>> decode(encode(plan)) == plan
    True
"""

from __future__ import annotations

from .data import (
    COLLECTIVE_SLOTS,
    COLLECTIVES,
    REDUCTIONS,
    SPACES,
    Branch,
    BufferRef,
    CollectiveDone,
    CollectiveStart,
    Copy,
    Launch,
    Loop,
    Plan,
    PlanConstant,
    PlanDevice,
    PlanInput,
    PlanOutput,
    Progress,
    Step,
    byte_size,
    device_of,
    parts_of,
    walk_steps,
)
from .decode import decode
from .encode import encode
from .printer import print_plan
from .verify import verify_plan

__all__ = [
    "COLLECTIVES", "COLLECTIVE_SLOTS", "REDUCTIONS", "SPACES", "Branch", "BufferRef", "CollectiveDone",
    "CollectiveStart", "Copy", "Launch", "Loop", "Plan", "PlanConstant", "PlanDevice", "PlanInput", "PlanOutput",
    "Progress", "Step", "byte_size", "decode", "device_of", "encode", "parts_of", "print_plan", "verify_plan",
    "walk_steps",
]  # fmt: skip
