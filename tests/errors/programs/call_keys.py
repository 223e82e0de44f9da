"""A dict whose keys have no order."""

import mlc

mlc.jit(lambda params: params)({"w": 1.0, 0: 2.0})
# error: call_keys.py:5: mlc.jit(lambda params: params)({"w": 1.0, 0: 2.0})
# error: tree: dict keys of types int, str cannot be sorted
# error: hint: give the keys of a dict one type; their order decides on the order of the leaves
