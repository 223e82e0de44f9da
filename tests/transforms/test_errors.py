"""What a user reads who differentiates what has no derivative: one golden a mistake, in errors/NAME.txt."""

from __future__ import annotations

import linecache
import os
from pathlib import Path

import pytest

from mlc.errors import MlcError

FOLDER = Path(__file__).with_name("errors")
PROGRAM = """\
import numpy as np
import mlc.numpy as mnp
from mlc.tracing import trace
from mlc.transforms import grad, jvp, vjp

def square(x):
    return x * x

def loss(params, labels):
    return (params["w"] * labels.astype("f32")).sum()

X = np.ones(3, np.float32)
I = np.ones(3, np.int32)
"""
MISTAKES = {
    "not_one_float": "trace(grad(square), [X])",
    "tree_value": "trace(grad(lambda x: {'loss': x.sum()}), [X])",
    "boolean_value": "trace(grad(lambda x: (x > 0).any()), [X])",
    "integer_argument": "trace(grad(loss, argnums=1), [{'w': X}, I])",
    "integer_leaf": "trace(grad(loss), [{'w': I}, X])",
    "argnums": "trace(grad(square, argnums=2), [X])",
    "argnums_twice": "trace(grad(loss, argnums=(0, -2)), [{'w': X}, X])",
    "no_aux": "trace(grad(square, has_aux=True), [X])",
    "tangent_shape": "trace(lambda x: jvp(square, (x,), (x.sum(),)), [X])",
    "tangent_tree": "trace(lambda x: jvp(loss, ({'w': x}, x), ({'v': x}, x)), [X])",
    "integer_primal": "trace(lambda i: jvp(square, (i,), (i,)), [I])",
    "cotangent_dtype": "trace(lambda x: vjp(square, x)[1](x.astype('f16')), [X])",
    "not_an_array": "trace(lambda x: grad(square)('x'), [X])",
}


@pytest.mark.parametrize("name", MISTAKES)
def test_message(name: str) -> None:
    with pytest.raises(MlcError) as error:
        run(MISTAKES[name], f"{name}.py")
    golden = FOLDER / f"{name}.txt"
    got = f"{type(error.value).__name__}: {error.value}\n"
    if os.environ.get("MLC_BLESS"):
        golden.write_text(got)
    assert got == golden.read_text()


def run(line: str, file: str) -> None:
    """Run the program with one more line."""
    source = PROGRAM + line + "\n"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    exec(compile(source, file, "exec"), {})
