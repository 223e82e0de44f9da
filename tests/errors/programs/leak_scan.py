"""A carried value kept by the body of a scan."""

import mlc
import mlc.numpy as mnp

kept = []


def body(total, x):
    kept.append(total)
    return total + x, total


@mlc.jit
def f(xs):
    last, _ = mlc.scan(body, 0.0, xs)
    return last + kept[0]


f(mnp.ones(3))
# error: leak_scan.py:17: return last + kept[0]
# error: a traced f32[] was used outside of its trace: it is argument total of scan: body,
# error: and belongs to the trace of scan: body, which has ended
# error: hint: return it from body or pass it in as an argument; globals and attributes cannot keep it
