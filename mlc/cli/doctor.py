"""`mlc doctor`: what this machine and this installation can do, and what is missing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass

import click

from mlc.cli.output import print_json, version

ESSENTIAL_EXIT = 5  # target unavailable


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report. ``good`` is None for plain information."""

    name: str
    good: bool | None
    text: str
    hint: str = ""


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> int:
    """Check the CPU, threads, runtime, code generator, linkers and data of this installation.

    Exits 5 where mlc cannot compile and run here; a missing linker or data set is only told.
    """
    checks = [_guard(name, check) for name, check in CHECKS.items()]
    healthy = not any(c.good is False and c.name in ESSENTIAL for c in checks)
    if as_json:
        print_json({"ok": healthy, "checks": [asdict(c) for c in checks]})
    else:
        width = max(len(c.name) for c in checks)
        for c in checks:
            mark = {True: "ok  ", False: "FAIL" if c.name in ESSENTIAL else "none", None: "    "}[c.good]
            click.echo(f"{mark} {c.name:<{width}}  {c.text}" + (f"\n     {'':<{width}}  {c.hint}" if c.hint else ""))
    return 0 if healthy else ESSENTIAL_EXIT


def _guard(name: str, check: Callable[[], tuple[bool | None, str, str]]) -> Check:
    try:
        return Check(name, *check())
    except Exception as error:
        return Check(name, False, f"{type(error).__name__}: {error}")


def _python() -> tuple[bool | None, str, str]:
    return None, f"{platform.python_version()} ({sys.executable}), mlc {version()}", ""


def _cpu() -> tuple[bool | None, str, str]:
    from mlc.runtime import _rt

    level = _rt.lib.mlc_cpu_level()
    if level < 3:
        return False, f"{platform.machine()}, below x86-64-v3", "mlc needs AVX2, FMA and F16C"
    return True, f"x86-64-v{level}, {_model()}", ""


def _model() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor()


def _threads() -> tuple[bool | None, str, str]:
    from mlc.runtime import num_threads

    allowed = len(os.sched_getaffinity(0))
    setting = os.environ.get("MLC_NUM_THREADS")
    return None, f"{num_threads()} of {allowed} allowed CPUs" + (f", MLC_NUM_THREADS={setting}" if setting else ""), ""


def _runtime() -> tuple[bool | None, str, str]:
    from mlc.runtime import runtime_object

    path = runtime_object()
    if not path.exists():
        return False, f"{path} is missing", "install mlc again"
    return True, f"{path}, {path.stat().st_size // 1024} KiB", ""


def _llvm() -> tuple[bool | None, str, str]:
    from llvmlite import binding

    text = ".".join(map(str, binding.llvm_version_info))
    return True, f"LLVM {text}, llvmlite {importlib.metadata.version('llvmlite')}", ""


def _kernel() -> tuple[bool | None, str, str]:
    """One kernel from IR to native code, run."""
    import ctypes

    from mlc.codegen import compile_object, load_object
    from mlc.ir.target import host_target

    text = "define i64 @doctor(i64 %x) {\n  %y = mul i64 %x, 2\n  ret i64 %y\n}\n"
    target = host_target()
    loaded = load_object(compile_object(f'target triple = "{target.triple}"\n{text}', target))
    good = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(loaded.address("doctor"))(21) == 42
    return good, f"compiled and ran for {target.name}", ""


def _gpu() -> tuple[bool | None, str, str]:
    """The GPU that programs call gpu:0."""
    from mlc.codegen.nvptx import find_ptxas
    from mlc.devices import gpu_target, open_device
    from mlc.errors import TargetError

    ptxas = find_ptxas()
    assembler = f"ptxas at {ptxas}" if ptxas else "no ptxas: the driver assembles, artifacts have PTX alone"
    try:
        device = open_device("gpu:0")
        target = gpu_target(device)
    except TargetError as error:
        return False, f"{error.message}; {assembler}", "programs run on the CPU; MLC_LIBCUDA names another libcuda.so.1"
    info = device.info
    driver = f"{info['driver'] // 1000}.{info['driver'] % 1000 // 10}"
    memory = f"{info['memory_bytes'] / (1 << 30):.1f} GiB"
    return True, f"gpu:0 is {info['name']}, {target.name}, {memory}; driver of CUDA {driver}; {assembler}", ""


def _linkers() -> tuple[bool | None, str, str]:
    from mlc.artifact.link import available_linkers

    found = available_linkers()
    if not found:
        return False, "no cc, zig or ld: mlc compile cannot link", "install a C compiler, or `pip install ziglang`"
    return True, ", ".join(found), ""


def _launchers() -> tuple[bool | None, str, str]:
    """What mlc launch can start processes with, the first one by itself."""
    from mlc.errors import TargetError
    from mlc.launch import find

    found = []
    for name in ("mpich", "openmpi", "srun"):
        try:
            found.append(f"{name} at {find(name).path}")
        except TargetError:
            continue
    if not found:
        return False, "no MPI and no srun: mlc launch cannot start several processes", "pip install 'mlc[mpi]'"
    return True, ", ".join(found), ""


def _data() -> tuple[bool | None, str, str]:
    from mlc.data import fetching

    return None, ", ".join(f"{name} {state}" for name, state in fetching.catalog().items()), ""


CHECKS: dict[str, Callable[[], tuple[bool | None, str, str]]] = {
    "python": _python,
    "cpu": _cpu,
    "threads": _threads,
    "runtime": _runtime,
    "llvm": _llvm,
    "native code": _kernel,
    "gpu": _gpu,
    "linkers": _linkers,
    "launchers": _launchers,
    "data": _data,
}
ESSENTIAL = ("cpu", "runtime", "llvm", "native code")
