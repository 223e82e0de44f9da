"""GPUs by their names: opened once, described for placement, asked for where a program names one."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from .errors import ArgumentError, TargetError
from .ir.device import Device as Described
from .ir.device import Link
from .ir.graph import COLLECTIVES, Graph
from .ir.graph.node import with_nested
from .ir.target import GPU_TARGETS, GpuTarget, named_gpu_target
from .options import Options
from .runtime import Device

_opened: dict[str, Device] = {}
_GPU = re.compile(r"gpu(?::(\d{1,4}))?")
_CPU = ("cpu", "cpu:0")
HINT = "gpu:0 is the first device of the CUDA driver (libcuda.so.1, or what MLC_LIBCUDA names): see `mlc doctor`"


def is_gpu(name: str) -> bool:
    """Whether ``name`` is that of a GPU, which the CUDA driver has, rather than of a described part of the host."""
    return _GPU.fullmatch(name) is not None


def full_name(name: str) -> str:
    """``gpu`` is ``gpu:0``."""
    return name if ":" in name else f"{name}:0"


def open_device(name: str) -> Device:
    """The GPU ``gpu:N``, opened when it is first asked for. TargetError where the driver or the device is not there."""
    match = _GPU.fullmatch(name)
    if match is None:
        raise TargetError(f"device {name!r} is no GPU", hint="GPUs are gpu:0, gpu:1, ...")
    name = full_name(name)
    if name not in _opened:
        try:
            _opened[name] = Device(int(match[1] or 0))
        except TargetError as error:
            raise TargetError(f"device {name!r}: {error.message}", hint=error.hint or HINT) from None
    return _opened[name]


def placed(name: str, what: str) -> Device | None:
    """The Device where arrays of ``name`` are, None for the host. ArgumentError for a name that is none."""
    if name in _CPU:
        return None
    if not isinstance(name, str) or not is_gpu(name):
        raise ArgumentError(
            f"{what}: {name!r:.60} is no device", hint="devices of arrays are cpu:0 and gpu:0, gpu:1, ..."
        )
    return open_device(name)


def gpu_target(device: Device) -> GpuTarget:
    """The best target that a device runs. TargetError for one that is older than sm_80."""
    major, minor = device.info["capability"]
    exact = f"sm_{major}{minor}a"
    if exact in GPU_TARGETS:
        return GPU_TARGETS[exact]
    if major < 8:
        raise TargetError(f"device {device.name!r} is sm_{major}{minor}: mlc needs sm_80 (Ampere) or later")
    return GPU_TARGETS["sm_80"]


def describe(name: str) -> Described:
    """A GPU as placement sees it: its target, and speeds by its clocks.

    MLC_GPU_TARGET names a target unasked; with one that ends in -tf32, f32 is multiplied in 19 bits.
    """
    wanted = os.environ.get("MLC_GPU_TARGET")
    if wanted:
        target = named_gpu_target(wanted)
        if target is None:
            raise TargetError(f"MLC_GPU_TARGET={wanted} is not known", hint=f"it is one of {', '.join(GPU_TARGETS)}")
        return Described(full_name(name), 1e13, 1e12, target)
    device = open_device(name)
    info = device.info
    flops = info["multiprocessors"] * info["clock_khz"] * 1e3 * 256  # 128 fused multiply-adds a clock
    bandwidth = info["memory_clock_khz"] * 1e3 * info["bus_bits"] / 8 * 2  # double data rate
    return Described(full_name(name), flops or 1e13, bandwidth or 1e12, gpu_target(device))


def with_devices(options: Options, graph: Graph, home: str | None = None) -> Options:
    """``options`` with every GPU that the graph or ``home`` names among the devices of the machine.

    Raises TargetError for one that neither MLC_DEVICES describes nor the driver has.
    """
    names = [n for n in _named(graph) if is_gpu(n)]
    names += [home] if home is not None else []
    machine = options.machine
    for name in dict.fromkeys(map(full_name, names)):
        known = {d.name: d for d in machine.devices}
        if name not in known:
            links = {frozenset((machine.host.name, name)): Link(2e10, 1e-5), **machine.links}
            machine = replace(machine, devices=(*machine.devices, describe(name)), links=links)
        elif known[name].target is None:
            target = describe(name).target
            devices = tuple(replace(d, target=target) if d.name == name else d for d in machine.devices)
            machine = replace(machine, devices=devices)
    if names and _has_collectives(graph):
        machine = replace(machine, nccl=nccl_version() > 0)
    return replace(options, machine=machine, home=None if home is None else full_name(home))


@cache
def nccl_version() -> int:
    """NCCL's own number of its version, 0 where it is not here: then collectives of arrays on GPUs go through the host.

    It is libnccl.so.2, that of a wheel ``nvidia-nccl-cu12``, or what MLC_NCCL names.
    """
    from .runtime._rt import ffi, lib

    found = int(lib.mlc_nccl_version(ffi.new("char[]", str(Path(sys.prefix) / "lib").encode()), ffi.NULL, 0))
    return max(found, 0)


def attached(names: Iterable[str], images: Sequence[str]) -> tuple[tuple[Device, ...], tuple[tuple[bytes, ...], ...]]:
    """What an Executable takes for the devices of its plan: them, opened, and code for each."""
    return tuple(map(open_device, names)), tuple((ptx.encode(),) for ptx in images)


def _named(graph: Graph) -> dict[str, None]:
    return {node.device: None for g in with_nested(graph) for node in g.nodes if node.device is not None}


def _has_collectives(graph: Graph) -> bool:
    return any(node.op in COLLECTIVES for g in with_nested(graph) for node in g.nodes)
