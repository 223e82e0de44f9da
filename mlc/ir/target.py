"""The machines that kernels are scheduled and generated for: vector width, registers, caches, LLVM's names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from mlc.errors import TargetError

from .types import DType


@dataclass(frozen=True, slots=True)
class Target:
    """A kind of CPU. ``features`` is LLVM's feature string; cache sizes are bytes of one core."""

    name: str
    triple: str
    cpu: str
    features: str
    vector_bits: int
    vector_registers: int
    l1_bytes: int
    l2_bytes: int

    def lanes(self, dtype: DType) -> int:
        """Elements of ``dtype`` in one vector register.

        >>> from mlc.ir.types import F32
        >>> X86_64_V4.lanes(F32), X86_64_V3.lanes(F32)
        (16, 8)
        """
        return self.vector_bits // (dtype.itemsize * 8)


_TRIPLE = "x86_64-unknown-linux-gnu"
X86_64_V3 = Target("x86-64-v3", _TRIPLE, "x86-64-v3", "", 256, 16, 32 << 10, 512 << 10)
X86_64_V4 = Target("x86-64-v4", _TRIPLE, "x86-64-v4", "-prefer-256-bit", 512, 32, 48 << 10, 1 << 20)
X86_64_V4_DOT = Target(  # v4 with AVX512-VNNI and AVX512-BF16: dot products of small numbers
    "x86-64-v4-dot", _TRIPLE, "x86-64-v4", "-prefer-256-bit,+avx512vnni,+avx512bf16", 512, 32, 48 << 10, 1 << 20
)
TARGETS: dict[str, Target] = {t.name: t for t in (X86_64_V3, X86_64_V4)}


@dataclass(frozen=True, slots=True)
class GpuTarget:
    """A kind of GPU. ``features`` is LLVM's feature string, with the version of PTX that is written.

    ``shared_bytes`` is what a block may have at most (above ``STATIC_SHARED_BYTES`` it is given at launch),
    ``registers`` are the 32-bit ones that the threads of a multiprocessor share, ``thread_registers`` what one thread
    may have; ``multiprocessors`` is the number that the largest chip of the kind has: work is cut for that many.
    With ``tf32``, products of f32 round their operands to 19 bits, for matrix units.
    """

    name: str
    triple: str
    cpu: str
    features: str
    shared_bytes: int
    multiprocessors: int
    registers: int = 65536
    thread_registers: int = 255
    max_threads: int = 1024
    warp: int = 32
    tf32: bool = False

    def lanes(self, dtype: DType) -> int:
        """Elements of ``dtype`` in the 16 bytes that a thread reads or writes at once.

        >>> from mlc.ir.types import F16, F32
        >>> SM_80.lanes(F32), SM_80.lanes(F16)
        (4, 8)
        """
        return 128 // (dtype.itemsize * 8)


STATIC_SHARED_BYTES = 48 << 10
_NVPTX = "nvptx64-nvidia-cuda"
SM_80 = GpuTarget("sm_80", _NVPTX, "sm_80", "+ptx70", 163 << 10, 108)  # runs on all later ones too
SM_90A = GpuTarget("sm_90a", _NVPTX, "sm_90a", "+ptx80", 227 << 10, 132)  # an `a` runs on no other kind
SM_100A = GpuTarget("sm_100a", _NVPTX, "sm_100a", "+ptx86", 227 << 10, 148)
GPU_TARGETS: dict[str, GpuTarget] = {t.name: t for t in (SM_80, SM_90A, SM_100A)}
AnyTarget = Target | GpuTarget
_TF32 = "-tf32"


def named_gpu_target(name: str) -> GpuTarget | None:
    """The GPU target ``name``, which may end in ``-tf32``: products of f32 are then less exact, and faster.

    None for what is no such name.

    >>> named_gpu_target("sm_80-tf32").tf32, named_gpu_target("sm_20")
    (True, None)
    """
    found = GPU_TARGETS.get(name.removesuffix(_TF32))
    return replace(found, name=name, tf32=True) if found is not None and name.endswith(_TF32) else found


_V3_FLAGS = {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"}
_DOT_FLAGS = {"avx512_vnni", "avx512_bf16"}
_V4_FLAGS = {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512cd"}


def host_target() -> Target:
    """The best target that this machine runs; TargetError where it is below x86-64-v3.

    Flags come from /proc/cpuinfo, which lists only what the operating system has enabled.
    """
    flags = _cpu_flags()
    if flags >= _V3_FLAGS | _V4_FLAGS:
        return X86_64_V4
    if flags >= _V3_FLAGS:
        return X86_64_V3
    missing = ", ".join(sorted(_V3_FLAGS - flags))
    raise TargetError(f"this CPU is below x86-64-v3: it lacks {missing}", hint="mlc needs AVX2, FMA and F16C")


def host_runs(target: Target) -> bool:
    """Whether this machine has the instructions of a CPU target."""
    wanted = {X86_64_V3.name: _V3_FLAGS, X86_64_V4.name: _V3_FLAGS | _V4_FLAGS}
    wanted[X86_64_V4_DOT.name] = _V3_FLAGS | _V4_FLAGS | _DOT_FLAGS
    return _cpu_flags() >= wanted[target.name]


def _cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> set[str]:
    try:
        text = cpuinfo.read_text()
    except OSError:
        return set()
    for line in text.splitlines():
        if line.startswith("flags"):
            return set(line.partition(":")[2].split())
    return set()
