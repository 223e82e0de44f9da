"""A jitted method of an object that is no tree."""

import mlc
import mlc.numpy as mnp


class Model:
    @mlc.jit
    def predict(self, x):
        return mnp.exp(x)


Model().predict(mnp.ones(3))
# error: call_self.py:13: Model().predict(mnp.ones(3))
# error: predict: argument self is a Model, not an array or a number
# error: hint: make it static (static_argnames='self'), or its class a tree (mlc.tree.register_node)
