"""An operation called with an argument that it does not have."""

import mlc.numpy as mnp

mnp.sum(mnp.ones(3), axes=0)
# error: call_operation.py:5: mnp.sum(mnp.ones(3), axes=0)
# error: sum: got an unexpected keyword argument 'axes'
# error: hint: it is sum(x, /, axis=None, *, dtype=None, keepdims=False)
