"""A program as a user writes it - keys, dropout, Adam, an export - on a GPU by an option of `mlc run` alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlc.cli import main
from tests.mock_cuda import MockDriver

PROGRAM = """
import numpy as np
import mlc
import mlc.numpy as mnp

optimizer = mlc.optim.adam(lambda step: 1e-3 * (1 - step / 10))


def init(key):
    keys = mlc.random.split(key, 2)
    he = mlc.nn.init.he_normal()
    return [{"w": he(k, s, "float32"), "b": mnp.zeros(s[-1])} for k, s in zip(keys, ((64, 16), (16, 10)))]


def forward(params, x, drop=lambda x: x):
    return drop(mlc.nn.relu(x @ params[0]["w"] + params[0]["b"])) @ params[1]["w"] + params[1]["b"]


@mlc.jit(donate_argnames=("params", "state"))
def step(params, state, x, y, key):
    loss = lambda p: mlc.nn.cross_entropy(forward(p, x, lambda h: mlc.nn.dropout(key, 0.5, h)), y)
    value, gradient = mlc.value_and_grad(loss)(params)
    params, state = optimizer.update(params, gradient, state)
    return params, state, value


@mlc.jit
def hits(params, x, y):
    return (forward(params, x).argmax(axis=1) == y).sum()


params = init(mlc.random.key(0))
state = optimizer.init(params)
devices = {x.device for x in mlc.tree.leaves((params, state))}
rng = np.random.default_rng(0)
for i in range(2):
    x, y = rng.random((8, 64)).astype(np.float32), rng.integers(0, 10, 8)
    params, state, value = step(params, state, x, y, mlc.random.fold_in(mlc.random.key(1), i))
    print(f"loss {float(value):.5f}")
print("hits", int(hits(params, x, y)))
mlc.export("predict", lambda x: mlc.nn.softmax(forward(params, x)), x=mlc.ShapeDtype((mlc.dim("n", 1, 64), 64)))
print(*devices)
"""


def test_it_trains_there_as_here(mock: MockDriver, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    printed = {}
    for device in ("cpu", "gpu:0"):
        with pytest.raises(SystemExit) as done:
            main(["run", "--device", device, str(program)])
        assert not done.value.code
        *printed[device], where = capsys.readouterr().out.splitlines()
        assert where == ("cpu:0" if device == "cpu" else "gpu:0")
    assert printed["cpu"] == printed["gpu:0"] and len(printed["cpu"]) == 3
    assert mock.launched
