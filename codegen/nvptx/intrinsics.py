"""The intrinsics that LLVM's NVPTX back end is known to select, by target: others would end the process.

LLVM answers an operation that it cannot select with ``abort``, and takes a misspelled ``llvm.nvvm`` name for a
function of somebody else's. Neither is an exception, so names are checked before LLVM sees them.
"""

from __future__ import annotations

import re

from mlc.errors import InternalError, UnsupportedError
from mlc.ir.target import GpuTarget

_FLOAT, _INTEGER = r"(v\d+)?f(32|64)", r"(v\d+)?i(8|16|32|64)"
_EVERYWHERE = (
    rf"llvm\.(fma|fabs|sqrt|floor|ceil|roundeven)\.{_FLOAT}",
    r"llvm\.(maximum|minimum)\.(v\d+)?f32",
    rf"llvm\.(smin|smax|umin|umax|abs|ctpop|ctlz)\.{_INTEGER}",
    rf"llvm\.fpto[su]i\.sat\.{_INTEGER}\.{_FLOAT}",
    r"llvm\.nvvm\.read\.ptx\.sreg\.(tid|ctaid)\.x",
    r"llvm\.nvvm\.(bar\.warp\.sync|barrier\.cta\.sync\.aligned\.(all|count))",
    r"llvm\.nvvm\.shfl\.sync\.(down|up|bfly|idx)\.i32",
    r"llvm\.nvvm\.cp\.async\.(ca\.shared\.global\.(4|8|16)|cg\.shared\.global\.16)(\.s)?",
    r"llvm\.nvvm\.cp\.async\.(commit|wait)\.group",
    r"llvm\.nvvm\.ldmatrix\.sync\.aligned\.m8n8\.x[124](\.trans)?\.b16\.p3",
    r"llvm\.nvvm\.mma\.(m16n8k16\.row\.col\.(f32\.f32|bf16)|m16n8k8\.row\.col\.tf32|m16n8k32\.row\.col\.s8)",
)
_FROM_SM_90 = (
    r"llvm\.nvvm\.mbarrier\.init\.shared",
    r"llvm\.nvvm\.mbarrier\.(arrive|arrive\.expect\.tx|try\.wait\.parity)\.scope\.cta\.space\.cta",
    r"llvm\.nvvm\.cp\.async\.bulk\.tensor\.g2s\.tile\.[1-5]d",
    r"llvm\.nvvm\.setmaxnreg\.(inc|dec)\.sync\.aligned\.u32",
)
_ARCHITECTURE_ONLY: dict[str, tuple[str, ...]] = {  # name of a target: patterns
    "sm_90a": (*_FROM_SM_90, r"llvm\.nvvm\.wgmma\.(fence|commit_group|wait_group)\.sync\.aligned"),
    "sm_100a": _FROM_SM_90,
}


def check_intrinsics(text: str, target: GpuTarget) -> None:
    """Raises UnsupportedError for an intrinsic of another target, InternalError for one that none is known to have.

    Example:
        >>> from mlc.ir.target import SM_80
        >>> check_intrinsics("call float @llvm.fma.f32(float %x, float %y, float %z)", SM_80)
    """
    for name in sorted(set(re.findall(r'@"?(llvm\.[\w.]+)', text))):
        if _matches(name, _EVERYWHERE) or _matches(name, _ARCHITECTURE_ONLY.get(target.cpu, ())):
            continue
        others = [t for t, patterns in _ARCHITECTURE_ONLY.items() if _matches(name, patterns)]
        if others:
            raise UnsupportedError(f"{target.name} has no {name}", hint=f"it is of {' and '.join(others)}")
        raise InternalError(f"codegen: LLVM's NVPTX back end is not known to select {name}")


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(re.fullmatch(p, name) for p in patterns)
