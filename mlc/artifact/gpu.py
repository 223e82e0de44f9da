"""Code for GPUs in an artifact: a plan and PTX for each function and target, and a cubin where ptxas is found.

The members ``gpu/FUNCTION.TARGET.plan``, ``.ptx`` and ``.cubin``; the manifest's record of a function says under
``gpus`` which there are, and which of the artifact's weights are the plan's constants.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from mlc.artifact.exporting import Export
from mlc.errors import ArtifactError, TargetError, UnsupportedError, notice
from mlc.ir.device import Device as Described
from mlc.ir.device import Machine
from mlc.ir.plan import Launch, Plan, decode, encode, walk_steps
from mlc.ir.target import GPU_TARGETS, GpuTarget, named_gpu_target

if TYPE_CHECKING:
    from mlc.artifact.package import Package
    from mlc.runtime import Device

HOME = "gpu:0"  # what plans call the device that they were given


@dataclass(frozen=True, slots=True)
class GpuVariant:
    """A function for one kind of GPU; ``cubin`` is None where there was no ptxas."""

    target: GpuTarget
    plan: Plan
    ptx: str
    cubin: bytes | None
    constants: tuple[tuple[str, npt.NDArray[Any]], ...]


def compile_for_gpu(export: Export, target: GpuTarget, result_names: Sequence[str]) -> GpuVariant | None:
    """The function, all of it on a GPU; None, after a notice, where some of it is for the CPU alone."""
    from mlc.compiler import Options, compile_function

    options = Options.from_environment()
    machine = Machine((*options.machine.devices[:1], Described(HOME, 1e13, 1e12, target)))
    options = replace(options, machine=machine, home=HOME)
    compiled = compile_function(export.traced.graph, options, result_names=result_names)
    plan = compiled.plan
    if any(s.device == 0 for s in walk_steps(plan.steps) if isinstance(s, Launch)):
        notice(f"{export.name}: no code for {target.name}: parts of it run on the CPU alone")
        return None
    ptx = compiled.images[0]
    constants = zip((c.name for c in plan.constants), compiled.constants, strict=True)
    return GpuVariant(target, plan, ptx, _cubin(ptx, target), tuple(constants))


def _cubin(ptx: str, target: GpuTarget) -> bytes | None:
    """None where there is no ptxas, or, after a notice, one that is older than the target: the driver compiles PTX."""
    from mlc.codegen.nvptx import assemble_ptx, find_ptxas

    if not ptx or find_ptxas() is None:
        return None
    try:
        return assemble_ptx(ptx, target).code
    except UnsupportedError as error:
        notice(f"no cubin: {error}")
        return None


def check_gpus(names: Sequence[str]) -> list[GpuTarget]:
    """The targets with these names. UnsupportedError for one that mlc does not have."""
    found = []
    for name in names:
        target = named_gpu_target(name)
        if target is None:
            there = ", ".join(GPU_TARGETS)
            raise UnsupportedError(f"no GPU target {name!r}", hint=f"there are {there}, and each with -tf32 at its end")
        found.append(target)
    return found


def members(name: str, variant: GpuVariant) -> dict[str, bytes]:
    """The files of a variant of function ``name``."""
    stem = f"gpu/{name}.{variant.target.name}"
    found = {f"{stem}.plan": encode(variant.plan), f"{stem}.ptx": variant.ptx.encode() + b"\0"}
    return found | ({f"{stem}.cubin": variant.cubin} if variant.cubin else {})


def record(variant: GpuVariant, table: Sequence[int]) -> dict[str, Any]:
    """What the manifest says of a variant whose constants have these places in the artifact's table."""
    return {
        "kernels": list(variant.plan.kernels),
        "steps": sum(1 for _ in walk_steps(variant.plan.steps)),
        "arena_bytes": sum(d.arena_bytes for d in variant.plan.devices),
        "constants": list(table),
        "cubin": variant.cubin is not None,
    }


def open_on(
    device: Device, function: Mapping[str, Any], package: Package, constants: Sequence[Any]
) -> tuple[str, Any, bytes]:
    """A function on a GPU: the target that runs, the executable, its plan. TargetError where nothing fits the GPU."""
    from mlc.array import Array
    from mlc.runtime import Executable

    there = function.get("gpus")
    name, target = function["name"], _chosen(device, function, str(package.path))
    said = there[target] if isinstance(there, dict) else None
    if not isinstance(said, dict) or not isinstance(said.get("constants"), list):
        raise ArtifactError(f"{package.path}: damaged manifest: the record of {name} for {target}")
    places = said["constants"]
    if any(type(p) is not int or not 0 <= p < len(constants) for p in places):
        raise ArtifactError(f"{package.path} is damaged: {name} names a weight that is not there")
    stem = f"gpu/{name}.{target}"
    plan, ptx = bytes(package.member(f"{stem}.plan")), bytes(package.member(f"{stem}.ptx"))
    images: tuple[bytes, ...] = (ptx.rstrip(b"\0"),)
    if said.get("cubin") is True:
        images = (bytes(package.member(f"{stem}.cubin")), *images)
    decoded = decode(plan)
    own = [constants[p] for p in places]
    count = len(decoded.devices)
    run = Executable(plan, [0] * len(decoded.kernels), own, package, Array, (device,) * count, (images,) * count)
    return target, run, plan


def _chosen(device: Device, function: Mapping[str, Any], path: str) -> str:
    """The best of a function's targets that the device runs: its own, else sm_80, which runs on all later ones.

    Of each the exact one, where both it and one with -tf32 are there.
    """
    from mlc.devices import gpu_target

    own, there = gpu_target(device).name, function.get("gpus") or {}
    for name in (own, f"{own}-tf32", "sm_80", "sm_80-tf32"):
        if name in there:
            return name
    what = f"code for {', '.join(there)}" if there else "no code for GPUs"
    raise TargetError(
        f"{path}: {function['name']} has {what}; {device.name} is {own}", hint=f"compile it with --gpu {own}"
    )
