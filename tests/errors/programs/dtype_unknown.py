"""An element type that mlc does not have."""

import numpy as np

import mlc


@mlc.jit
def f(x):
    return x + np.complex64(1j)


f.lower(mlc.ShapeDtype((3,)))
# error: dtype_unknown.py:10: return x + np.complex64(1j)
# error: add: operand has elements of type complex64, which mlc does not have
# error: hint: mlc has f16 bf16 f32 f64 i8 to i64 u8 to u64 and bool
