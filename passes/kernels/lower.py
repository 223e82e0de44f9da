"""The straight line from a scheduled kernel to one that code is generated from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlc.errors import ArgumentError
from mlc.ir.kernel import Kernel
from mlc.ir.target import X86_64_V3, AnyTarget
from mlc.passes.kernels.common import share_common
from mlc.passes.kernels.dead import remove_dead
from mlc.passes.kernels.dots import expand_dots
from mlc.passes.kernels.expand_math import expand_math
from mlc.passes.kernels.hoist import hoist_invariants
from mlc.passes.kernels.unroll import unroll
from mlc.passes.kernels.widen import widen


@dataclass(frozen=True, slots=True)
class KernelPass:
    """A named function from kernel to kernel; code generation needs the form that ``required`` ones leave.

    A function ``by_target`` takes the target as its second argument.
    """

    name: str
    function: Callable[..., Kernel]
    required: bool = False
    by_target: bool = False

    def run(self, kernel: Kernel, target: AnyTarget = X86_64_V3) -> Kernel:
        return self.function(kernel, target) if self.by_target else self.function(kernel)


KERNEL_PIPELINE: tuple[KernelPass, ...] = (
    KernelPass("unroll", unroll),
    KernelPass("expand-dots", expand_dots, required=True, by_target=True),
    KernelPass("widen", widen, required=True, by_target=True),
    KernelPass("expand-math", expand_math, required=True),
    KernelPass("share-common", share_common),
    KernelPass("hoist-invariants", hoist_invariants),
    KernelPass("share-hoisted", share_common),
    KernelPass("remove-dead", remove_dead),
)


def lower_kernel(kernel: Kernel, target: AnyTarget, skip: frozenset[str] = frozenset()) -> Kernel:
    """Everything that code generation needs done, but the passes named in ``skip``.

    All targets have fused multiply-add and conversions of f16.
    """
    for kernel_pass in KERNEL_PIPELINE:
        if kernel_pass.name not in skip or kernel_pass.required:
            kernel = kernel_pass.run(kernel, target)
    return kernel


def named_kernel_passes(names: Sequence[str]) -> tuple[KernelPass, ...]:
    """The kernel passes that have these names, in the order of ``names``. Raises ArgumentError for others."""
    known = {p.name: p for p in KERNEL_PIPELINE}
    unknown = [n for n in names if n not in known]
    if unknown:
        raise ArgumentError(f"there is no kernel pass {unknown[0]!r}", hint=f"they are {', '.join(known)}")
    return tuple(known[n] for n in names)
