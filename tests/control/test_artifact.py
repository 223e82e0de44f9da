"""Loops and branches in artifacts: from Python, from C on any number of threads, sanitized; Ctrl-C in a call."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import mlc
import mlc.numpy as mnp
from mlc.artifact.building import Options, build
from mlc.artifact.exporting import recording
from mlc.artifact.manifest import Source
from tests.artifact.test_library import needs_cc, run_command

RNG = np.random.default_rng(3)
W = (RNG.standard_normal((12, 12)) / 4).astype(np.float32)
U = (RNG.standard_normal((7, 12)) / 2).astype(np.float32)
ROWS = RNG.standard_normal((19, 7)).astype(np.float32)


def predict(x: Any) -> dict[str, Any]:
    """A recurrent network over the rows, of a length known at the call, and a loop as long as the data says."""

    def step(h: Any, row: Any) -> Any:
        h = mnp.tanh(h @ W + row @ U)
        return h, mlc.cond(mnp.sum(h) > 0, lambda: h, lambda: -h)

    _, ys = mlc.scan(step, mnp.zeros(12, "f32"), x)
    shrunk = mlc.while_loop(lambda v: mnp.max(mnp.abs(v)) > 0.25, lambda v: v * 0.75, ys)
    return {"probs": shrunk}


def expected() -> npt.NDArray[np.float64]:
    h, ys = np.zeros(12), []
    for row in ROWS.astype(np.float64):
        h = np.tanh(h @ W.astype(np.float64) + row @ U.astype(np.float64))
        ys.append(h if h.sum() > 0 else -h)
    shrunk = np.array(ys)
    while np.abs(shrunk).max() > 0.25:
        shrunk = shrunk * 0.75
    return shrunk


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("loops")
    with recording() as exports:
        mlc.export("predict", predict, x=mlc.ShapeDtype((mlc.dim("rows", 1, 64), 7), "f32"))
    for name in ("m.mlc", "libm.so"):
        build(exports, made / name, Options(name.rpartition(".")[2]), Source("rnn.py", "0" * 64))
    return made


def test_the_artifact_and_jit_give_the_same_bits(folder: Path) -> None:
    found = np.asarray(mlc.load(folder / "m.mlc").predict(x=ROWS)["probs"])
    np.testing.assert_allclose(found, expected(), rtol=1e-5, atol=1e-6)
    with mlc.threads(1):
        one = np.asarray(mlc.load(folder / "m.mlc").predict(x=ROWS)["probs"])
    rows = mlc.ShapeDtype((mlc.dim("rows", 1, 64), 7), "f32")
    again = np.asarray(mlc.jit(predict).lower(rows).compile()(ROWS)["probs"])
    assert found.tobytes() == one.tobytes() == again.tobytes()


@needs_cc
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("sanitizer", [None, "address,undefined"])
def test_from_c(
    folder: Path, tmp_path: Path, threads: int, sanitizer: str | None, sanitized_runtime: Callable[[str], list[Path]]
) -> None:
    sanitized = sanitized_runtime(sanitizer) if sanitizer else ()
    library = folder / "libm.so"
    got = run_command(library, tmp_path, ROWS, 12, threads=threads, sanitizer=sanitizer, sanitized=sanitized)
    want = np.asarray(mlc.load(folder / "m.mlc").predict(x=ROWS)["probs"])
    assert got.tobytes() == want.tobytes()


def test_ctrl_c_ends_an_endless_loop() -> None:
    program = (
        "import mlc, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a job in the background ignores it
        "f = mlc.jit(lambda x: mlc.while_loop(lambda v: v < 1e30, lambda v: v * 0.5, x))\n"
        "f(2e30)\n"
        "print('ready', flush=True)\n"
        "try:\n    f(1.0)\nexcept KeyboardInterrupt:\n    print('stopped', float(f(4e30)))\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(1)
            process.send_signal(signal.SIGINT)
            out = process.communicate(timeout=60)[0]
        finally:
            process.kill()
    assert out.startswith("stopped") and process.returncode == 0


def test_a_stopped_call_has_used_up_what_was_donated() -> None:
    """The state was in place: it is of some trip, and not what the caller gave."""

    class Stopped(Exception):
        pass

    def stop(*_: object) -> None:
        raise Stopped

    spin = mlc.jit(
        lambda n, x: mlc.while_loop(lambda s: s[0] != 0, lambda s: (s[0], s[1] + 1), (n, x)), donate_argnames="x"
    )
    state = mlc.numpy.asarray(np.zeros(8, np.float32))
    _, state = spin(0, state)
    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(Stopped):
            spin(1, state)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert state.is_deleted()
