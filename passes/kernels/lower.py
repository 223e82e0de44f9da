"""The straight line from a scheduled kernel to one that code is generated from."""

from __future__ import annotations

from mlc.ir.kernel import Kernel
from mlc.ir.target import Target
from mlc.passes.kernels.common import share_common
from mlc.passes.kernels.dead import remove_dead
from mlc.passes.kernels.expand_math import expand_math
from mlc.passes.kernels.hoist import hoist_invariants
from mlc.passes.kernels.unroll import unroll
from mlc.passes.kernels.widen import widen


def lower_kernel(kernel: Kernel, target: Target) -> Kernel:
    """Everything that code generation needs done, for any target of now.

    ``target`` decides nothing yet: all of them have fused multiply-add and conversions of f16.
    """
    del target
    for kernel_pass in (unroll, widen, expand_math, share_common, hoist_invariants, share_common, remove_dead):
        kernel = kernel_pass(kernel)
    return kernel
