"""A format of a value that does not exist yet."""

import mlc


@mlc.jit
def show(x):
    return f"{x:.3f}"


show(1.0)
# error: traced_format.py:8: return f"{x:.3f}"
# error: format: a format such as '.3f' needs a value, but this f32[] is traced:
# error: it has none before the compiled function runs; it is argument x of show
# error: hint: return it, and format the result
