"""Runs scheduled regions, interpreted and compiled, and compares them with the meaning of their bodies."""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mlc.codegen import LoadedObject, compile_object, emit_llvm, load_object
from mlc.ir.dims import evaluate_size
from mlc.ir.graph import Graph, Node, Table
from mlc.ir.graph.evaluate import bind_sizes, evaluate_graph
from mlc.ir.kernel import IndexVariable, interpret_kernel
from mlc.ir.target import X86_64_V3, X86_64_V4, Target, host_target
from mlc.ir.types import BOOL, DType, TensorType
from mlc.passes.kernels import lower_kernel
from mlc.passes.schedule import KernelCall, ScheduledRegion, schedule_region

Array = npt.NDArray[np.generic]
TARGETS = (X86_64_V4, X86_64_V3)
COMPILED = tuple(t for t in TARGETS if t.vector_bits <= host_target().vector_bits)
CANARY = 0x5A
PAD = 256  # bytes of canary on either side of every compiled buffer

LAST: deque[tuple[ScheduledRegion, Target, tuple[LoadedObject, list[object]]]] = deque(maxlen=4)
"""The regions that were compiled last, with what they became."""

FUNCTION = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p
)  # fmt: skip


def body_of_types(function: Callable[..., Node | Sequence[Node]], *types: TensorType) -> Graph:
    """The body that ``function`` builds of parameters of these types."""
    table = Table()
    with table.active():
        parameters = [table.parameter(t, f"x{k}") for k, t in enumerate(types)]
        found = function(*parameters)
        return Graph("body", parameters, [found] if isinstance(found, Node) else list(found), table)


def random_array(shape: Sequence[int], dtype: DType, seed: int = 0) -> Array:
    """Normal floats, or small integers of both signs."""
    g = np.random.default_rng(seed)
    if dtype == BOOL:
        return g.integers(0, 2, shape).astype(np.bool_)
    if dtype.is_integer:
        low = -40 if dtype.kind == "int" else 0
        return g.integers(low, 41, shape).astype(dtype.numpy)
    return g.standard_normal(shape).astype(dtype.numpy)


def check_region(
    kind: str,
    body: Graph,
    arrays: Sequence[npt.ArrayLike],
    tolerance: float = 0.0,
    targets: Sequence[Target] = TARGETS,
    compiled: bool = True,
    interpreted: bool = True,
) -> None:
    """The scheduled kernels give what evaluate_graph says, interpreted and compiled, for each target.

    ``tolerance`` is relative to the largest element of a float result; 0 asks for equal bits (any NaN for a NaN).
    """
    values = [np.array(a, p.dtype.numpy, order="C") for a, p in zip(arrays, body.parameters, strict=True)]
    sizes = bind_sizes(body, values, {})
    expected = evaluate_graph(body, values)
    for target in targets:
        region = region_of(kind, body, target)
        if interpreted:
            assert_close(interpret(region, body, values, sizes), expected, tolerance, f"interpreted for {target.name}")
        if compiled and target in COMPILED:
            assert_close(run_compiled(region, body, values, sizes, target), expected, tolerance, target.name)


@lru_cache(maxsize=4)
def region_of(kind: str, body: Graph, target: Target) -> ScheduledRegion:
    """The same object for the same body: a test of several sizes schedules and compiles once."""
    return schedule_region(kind, body, target)


def check_in_place(
    kind: str, body: Graph, arrays: Sequence[npt.ArrayLike], shared: Mapping[int, int], tolerance: float = 0.0
) -> None:
    """Compiled code gives the right results where result r lies in the memory of parameter ``shared[r]``."""
    values = [np.array(a, p.dtype.numpy, order="C") for a, p in zip(arrays, body.parameters, strict=True)]
    sizes, expected = bind_sizes(body, values, {}), evaluate_graph(body, values)
    for target in COMPILED:
        region = schedule_region(kind, body, target)
        assert {(p, r) for r, p in shared.items()} <= region.in_place
        found = run_compiled(region, body, values, sizes, target, shared)
        assert_close(found, expected, tolerance, target.name)


def assert_close(found: Sequence[Array], expected: Sequence[Array], tolerance: float, what: str) -> None:
    for k, (x, want) in enumerate(zip(found, expected, strict=True)):
        assert x.dtype == want.dtype and x.shape == want.shape
        if tolerance and want.dtype.kind not in "iub":
            a, b = x.astype(np.float64), want.astype(np.float64)
            bound = tolerance * max(np.max(np.abs(b), where=np.isfinite(b), initial=0.0), 1e-30)
            np.testing.assert_allclose(a, b, rtol=0, atol=bound, err_msg=f"result {k}, {what}")
        else:
            a, b = (v if v.dtype.kind in "iub" else v.astype(np.float64) for v in (x, want))
            np.testing.assert_array_equal(a, b, err_msg=f"result {k}, {what}")


def buffers_of(
    region: ScheduledRegion, body: Graph, values: Sequence[Array], sizes: Mapping[str, int]
) -> dict[tuple[str, int], Array]:
    """Dense buffers by operand; results and temporaries hold garbage."""
    found: dict[tuple[str, int], Array] = {("parameter", k): v.copy() for k, v in enumerate(values)}
    for k, r in enumerate(body.results):
        shape = tuple(evaluate_size(n, sizes) for n in r.shape)
        garbage = np.full(int(np.prod(shape)) * r.dtype.itemsize, 1 if r.dtype == BOOL else 0x7F, np.uint8)
        found["result", k] = garbage.view(r.dtype.numpy).reshape(shape)
    for k, nbytes in enumerate(region.temporaries):
        found["temporary", k] = np.full(nbytes, 0x7F, np.uint8)
    return found


def call_sizes(call: KernelCall, sizes: Mapping[str, int]) -> list[int]:
    return [evaluate_size(s, sizes) for s in call.sizes]


def interpret(region: ScheduledRegion, body: Graph, values: Sequence[Array], sizes: Mapping[str, int]) -> list[Array]:
    buffers = buffers_of(region, body, values, sizes)
    for p, r in region.copies:
        buffers["result", r][...] = buffers["parameter", p]
    for call in region.calls:
        given, numbers = [], call_sizes(call, sizes)
        by_variable = {IndexVariable("n", k): n for k, n in enumerate(numbers)}
        for operand, memory in zip(call.operands, call.kernel.buffers, strict=True):
            array = buffers[operand.kind, operand.index]
            shape = tuple(n.evaluate(by_variable) for n in memory.shape)
            if operand.kind == "temporary":
                array = array.view(memory.dtype.numpy)[: int(np.prod(shape))]
            given.append(array.reshape(shape))
        nest = [(n.evaluate(by_variable), g) for n, g in zip(call.kernel.extents, call.kernel.grains, strict=True)]
        assert nest == [(evaluate_size(n, sizes), g) for n, g in call.tasks]
        interpret_kernel(call.kernel, given, numbers)
    return [buffers["result", k] for k in range(len(body.results))]


def count_tasks(call: KernelCall, sizes: Mapping[str, int]) -> int:
    total = 1
    for extent, grain in call.tasks:
        total *= -(-evaluate_size(extent, sizes) // grain)
    return total


def compile_calls(region: ScheduledRegion, target: Target) -> tuple[LoadedObject, list[object]]:
    """One function for each kernel of a region, and what keeps them alive."""
    for known, its_target, compiled in LAST:
        if known is region and its_target is target:
            return compiled
    LAST.append((region, target, _compile_calls(region, target)))
    return LAST[-1][2]


def _compile_calls(region: ScheduledRegion, target: Target) -> tuple[LoadedObject, list[object]]:
    kernels = []
    for k, call in enumerate(region.calls):
        lowered = lower_kernel(call.kernel, target)
        object.__setattr__(lowered, "name", f"{lowered.name}_{k}")
        kernels.append(lowered)
    loaded = load_object(compile_object(emit_llvm(kernels, target), target))
    return loaded, [FUNCTION(loaded.address(k.name)) for k in kernels]


def run_compiled(
    region: ScheduledRegion,
    body: Graph,
    values: Sequence[Array],
    sizes: Mapping[str, int],
    target: Target,
    shared: Mapping[int, int] | None = None,
) -> list[Array]:
    """The results by compiled code, tasks in two uneven ranges, every buffer between canaries.

    ``shared`` has the results that lie in the memory of a parameter.
    """
    loaded, functions = compile_calls(region, target)
    plain = buffers_of(region, body, values, sizes)
    for p, r in region.copies:
        plain["result", r][...] = plain["parameter", p]
    fenced = {}
    for key, array in plain.items():
        raw = np.full(array.nbytes + 2 * PAD + 64, CANARY, np.uint8)
        start = PAD + (-(raw.ctypes.data + PAD)) % 64
        raw[start : start + array.nbytes] = np.frombuffer(array.tobytes(), np.uint8)
        fenced[key] = (raw, start)
    fenced |= {("result", r): fenced["parameter", p] for r, p in (shared or {}).items()}
    for call, function in zip(region.calls, functions, strict=True):
        pointers = [fenced[o.kind, o.index][0].ctypes.data + fenced[o.kind, o.index][1] for o in call.operands]
        table = (ctypes.c_void_p * max(len(pointers), 1))(*pointers)
        numbers = (ctypes.c_int64 * max(len(call.sizes), 1))(*call_sizes(call, sizes))
        scratch = np.zeros(call.kernel.scratch_bytes + 64, np.uint8)
        aligned = scratch.ctypes.data + (-scratch.ctypes.data) % 64
        tasks = count_tasks(call, sizes)
        for begin, end in ((tasks // 3, tasks), (0, tasks // 3)):
            function(ctypes.addressof(table), ctypes.addressof(numbers), begin, end, aligned)  # type: ignore[operator]
    for key, (raw, start) in fenced.items():
        nbytes = plain[key].nbytes
        assert (raw[:start] == CANARY).all() and (raw[start + nbytes :] == CANARY).all(), f"{key} is overrun"
    assert loaded is not None
    found = []
    for k, r in enumerate(body.results):
        raw, start = fenced["result", k]
        shape = plain["result", k].shape
        found.append(raw[start : start + plain["result", k].nbytes].view(r.dtype.numpy).reshape(shape).copy())
    return found
