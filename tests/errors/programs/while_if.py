"""A condition on a traced value in the body of a loop in a loop."""

import mlc


def collatz(n):
    if n % 2:
        return 3 * n + 1
    return n // 2


@mlc.jit
def walk(n):
    return mlc.fori_loop(0, 3, lambda i, n: mlc.fori_loop(0, 2, lambda j, n: collatz(n), n), n)


walk(27)
# error: while_if.py:7: if n % 2:
# error: bool: `if`, `while`, `and`, `or` and `not` need a value, but this i64[] is traced:
# error: it has none before the compiled function runs; it is made at while_if.py:7: if n % 2:
# error: hint: mlc.cond, mlc.while_loop and mlc.numpy.where take it, & | ~ combine; or make it static (static_argnames)
