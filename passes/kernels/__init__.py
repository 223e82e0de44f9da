"""Kernel to Kernel: expansion of math, and the cleaning that LLVM is not asked to do."""

from mlc.passes.kernels.common import share_common
from mlc.passes.kernels.dead import remove_dead
from mlc.passes.kernels.expand_math import expand_math
from mlc.passes.kernels.hoist import hoist_invariants
from mlc.passes.kernels.lower import KERNEL_PIPELINE, KernelPass, lower_kernel, named_kernel_passes
from mlc.passes.kernels.unroll import unroll
from mlc.passes.kernels.widen import widen

__all__ = [
    "KERNEL_PIPELINE", "KernelPass", "expand_math", "hoist_invariants", "lower_kernel", "named_kernel_passes",
    "remove_dead", "share_common", "unroll", "widen",
]  # fmt: skip
