"""Plans built by hand over the kernels of kernels.c, and what they compute, in NumPy float64."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mlc.ir.dims import Dim, Size, dim
from mlc.ir.plan import Branch, BufferRef, Copy, Launch, Loop, Plan, PlanConstant, PlanInput, PlanOutput, Step
from mlc.ir.types import F32, TensorType

KERNELS = ("scale", "reverse_add", "total", "add_total", "increment", "below", "pick")
GRAIN = 16
BOUND = 1024
N = dim("n", 0, BOUND)
CONSTANT = 3.0


def vector(n: Size) -> TensorType:
    return TensorType((n,), F32)


def place(space: str, index: int = 0, offset: int = 0) -> BufferRef:
    return BufferRef(space, index, offset)


def stress(n: Size = N) -> Plan:
    """y = reverse(2 x) + c, then y += sum(y); also 2 x and the sum. Every step reads what other threads wrote."""
    doubled, total = place("arena"), place("output", 2)
    y = place("output")
    steps: tuple[Step, ...] = (
        Launch(0, (place("input"), doubled), (n, GRAIN), ((n, GRAIN),), label="double"),
        Launch(1, (doubled, place("constant"), y), (n, GRAIN), ((n, GRAIN),), barrier=True, label="reverse"),
        Copy(place("output", 1), doubled, n * 4, label="keep"),
        Launch(2, (y, total), (n,), (), barrier=True, serial=True, label="total"),
        Launch(3, (y, total), (n, GRAIN), ((n, GRAIN),), barrier=True, label="add"),
    )
    symbols = n.symbols if isinstance(n, Dim) else ()
    outputs = (PlanOutput("y", vector(n)), PlanOutput("doubled", vector(n)), PlanOutput("total", TensorType((), F32)))
    constant = PlanConstant("c", TensorType((), F32))
    inputs = (PlanInput("x", vector(n)),)
    return Plan("stress", symbols, inputs, outputs, (constant,), BOUND * 4, GRAIN * 4, KERNELS, steps)


def stress_expected(x: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float64]]:
    doubled = 2 * x.astype(np.float64)
    y = doubled[::-1] + CONSTANT
    return [y + y.sum(), doubled, y.sum()]


def counter(n: Size = N, donated: bool = True) -> Plan:
    """next = state + 1, in the memory of the donated state; the other input is there to be passed twice."""
    symbols = n.symbols if isinstance(n, Dim) else ()
    step = Launch(4, (place("input"), place("output")), (n, GRAIN), ((n, GRAIN),), label="increment")
    inputs = (PlanInput("state", vector(n), 0 if donated else None), PlanInput("other", vector(n)))
    return Plan("counter", symbols, inputs, (PlanOutput("next", vector(n)),), (), 0, 0, KERNELS, (step,))


def looped(n: Size = N) -> Plan:
    """Trip k of `trips` adds 1 to y, doubles it, or adds 1 twice in a loop of its own, as k modulo 3 is 0, 1, 2."""
    symbols = n.symbols if isinstance(n, Dim) else ()
    y, own = place("output"), place("arena", 0, 256)
    k, go_on, which, inner, more, two = (place("arena", 0, 32 * i) for i in range(6))
    one = (1, 1)

    def increment(ref: BufferRef, barrier: bool = False) -> Launch:
        if ref is not y:
            return Launch(4, (ref, ref), one, (), serial=True)
        return Launch(4, (y, y), (n, GRAIN), ((n, GRAIN),), barrier)

    def test(count: BufferRef, limit: BufferRef, out: BufferRef) -> Launch:
        return Launch(5, (count, limit, out), (), (), serial=True)

    twice: tuple[Step, ...] = (
        Launch(4, (place("input", 1), inner), one, (), serial=True),
        test(inner, two, more),
        Loop(more, (increment(inner), test(inner, two, more), increment(y)), "twice"),
    )
    doubling = Launch(0, (y, own), (n, GRAIN), ((n, GRAIN),)), Copy(y, own, n * 4, barrier=True)
    steps: tuple[Step, ...] = (
        Copy(y, place("input"), n * 4),
        Copy(k, place("input", 1), 4),
        Launch(4, (place("input", 1), two), one, (), serial=True),
        *(increment(two) for _ in range(2)),
        Launch(5, (k, place("input", 2), go_on), (), (), barrier=True, serial=True),
        Loop(
            go_on,
            (
                Launch(6, (k, which), (), (), serial=True),
                increment(k),
                test(k, place("input", 2), go_on),
                Branch(which, ((increment(y),), doubling, twice), "which"),
            ),
            "trips",
        ),
        increment(y),
    )  # fmt: skip
    number = TensorType((), F32)
    inputs = (PlanInput("x", vector(n)), PlanInput("zero", number), PlanInput("trips", number))
    outputs = (PlanOutput("y", vector(n)),)
    return Plan("looped", symbols, inputs, outputs, (), 256 + BOUND * 4, GRAIN * 4, KERNELS, steps)


def looped_expected(x: npt.NDArray[np.float32], trips: int) -> npt.NDArray[np.float64]:
    y = x.astype(np.float64)
    for k in range(trips):
        y = [y + 1, 2 * y, y + 2][k % 3]
    return y + 1


def overrun(n: Size = N) -> Plan:
    """Breaks the rules: copies n + 1 elements of n, which is only found out while walking."""
    symbols = n.symbols if isinstance(n, Dim) else ()
    steps: tuple[Step, ...] = (
        Launch(4, (place("input"), place("output")), (n, GRAIN), ((n, GRAIN),)),
        Copy(place("arena"), place("output"), n * 4 + 4, barrier=True),
        Launch(4, (place("input"), place("output")), (n, GRAIN), ((n, GRAIN),), barrier=True),
    )
    inputs, outputs = (PlanInput("x", vector(n)),), (PlanOutput("y", vector(n)),)
    return Plan("overrun", symbols, inputs, outputs, (), BOUND * 4 + 8, 0, KERNELS, steps)
