"""A combination of conditions that lacks its parentheses."""

import mlc


@mlc.jit
def between(x, low):
    return x > low & x


between.lower(mlc.ShapeDtype((3,)), mlc.ShapeDtype((3,)))
# error: dtype_bits.py:8: return x > low & x
# error: bitwise_and: lhs is f32[3], rhs is f32[3]; it takes integers and bools
# error: hint: conditions need parentheses, since & and | bind tighter: (x > 0) & (y > 0)
