"""The hand-written kernels of tests/kernel/goldens: operations a second, beside those of f32 multiply-adds.

python -m tests.bench.handwritten
"""

from __future__ import annotations

import numpy as np

from mlc.ir.kernel import IndexVariable
from mlc.ir.target import X86_64_V4_DOT, host_runs, host_target
from tests.kernel.golden_kernels import CPU, Case

from .kernels import Launch, Launches, aligned, peak

SIZES = {
    "gemm_avx512": (253, 256, 250), "gemm_bf16": (252, 128, 8), "gemm_int8": (252, 64, 8), "conv3x3_nhwc": (16,),
    "lstm_cell": (32, 256, 256),
}  # fmt: skip


def launch_of(case: Case) -> Launch:
    buffers = []
    for array in case.arrays:
        buffers.append(aligned(array.size, array.dtype))
        buffers[-1][:] = array.reshape(-1)
    values = {IndexVariable("n", k): n for k, n in enumerate(case.sizes)}
    counts = [-(-e.evaluate(values) // g) for e, g in zip(case.kernel.extents, case.kernel.grains, strict=True)]
    return Launch(case.kernel, tuple(buffers), tuple(case.sizes), int(np.prod(counts)))


def main() -> None:
    targets = [host_target(), *([X86_64_V4_DOT] if host_runs(X86_64_V4_DOT) else [])]
    flops = peak()
    print(f"multiply-add peak {flops / 1e9:.1f} GFLOP/s (f32, one thread)")
    for name, sizes in SIZES.items():
        case = CPU[name](*sizes)
        for target in targets:
            once = Launches([launch_of(case)], target).seconds(2000)
            speed = case.flops / once
            print(f"{name:14s} {sizes!s:16s} {target.name:14s} {speed / 1e9:7.1f} Gop/s  {100 * speed / flops:5.0f} %")


if __name__ == "__main__":
    main()
