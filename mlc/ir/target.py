"""The machines that kernels are scheduled and generated for: vector width, registers, caches, LLVM's names."""

from __future__ import annotations

from dataclasses import dataclass
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
