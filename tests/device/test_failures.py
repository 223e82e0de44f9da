"""What goes wrong on a device is an error that names the kernel and the user's line, and the process goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.errors import DeviceError, TargetError
from tests.mock_cuda import MockDriver
from tests.mock_cuda.driver import ILLEGAL_ADDRESS, INVALID_PTX, LAUNCH_FAILED, OUT_OF_MEMORY

X = np.arange(12, dtype=np.float32).reshape(3, 4)


def scaled(x: Any) -> Any:
    with mlc.scope("encoder"):
        return mnp.exp(x) * 2


def still_works(mock: MockDriver) -> None:
    """The GPU and the CPU."""
    for device in ("gpu:0", "cpu"):
        assert mlc.jit(lambda x: x + 1, device=device)(X).tolist() == (X + 1).tolist()


def test_out_of_memory_says_how_much_and_leaves_the_arguments(mock: MockDriver) -> None:
    mock.reset(memory=1 << 16)
    double = mlc.jit(lambda x: mnp.broadcast_to(x * 2, (1 << 12, 4)) + 1, donate_argnames="x", device="gpu:0")
    x = mlc.device_put(X[0], "gpu:0")
    with pytest.raises(MemoryError, match=r"gpu:0: out of memory: 65536 bytes are wanted, .* of 65536.*CUDA_ERROR_2"):
        double(x)
    assert x.tolist() == X[0].tolist()
    with pytest.raises(MemoryError, match="wanted"):
        mlc.device_put(np.zeros(1 << 14, np.float32), "gpu:0")
    still_works(mock)


@pytest.mark.parametrize("pools", [True, False], ids=["pool", "plain"])
def test_what_is_kept_is_given_back_before_memory_is_out(mock: MockDriver, pools: bool) -> None:
    mock.reset(memory=1 << 16, pools=pools)
    for n in (6000, 9000, 12000):  # classes of their own: each takes the block of the one before
        assert mlc.device_put(np.zeros(n, np.float32), "gpu:0").shape == (n,)
    assert (mock.count("cuMemAllocAsync") > 0, mock.count("cuMemAlloc_v2") > 0) == (pools, not pools)
    assert mock.count("cuMemFreeAsync" if pools else "cuMemFree_v2") >= 2


def test_code_that_the_device_refuses_has_the_words_of_its_assembler(
    mock: MockDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlc import compiler

    good = compiler._ptx_of
    with monkeypatch.context() as patch:
        patch.setattr(compiler, "_ptx_of", lambda *args: good(*args).replace("ret;", "return!"))
        with pytest.raises(DeviceError, match=r"gpu:0: it does not take the code: ptxas error: .* \(CUDA_ERROR_218\)"):
            mlc.jit(scaled, device="gpu:0")(X)
    still_works(mock)


def test_code_for_a_newer_driver(mock: MockDriver) -> None:
    mock.fail("cuModuleLoadDataEx", INVALID_PTX)
    with pytest.raises(DeviceError, match="a PTX JIT compilation failed"):
        mlc.jit(scaled, device="gpu:0")(X)
    mock.fail("cuModuleGetFunction", 500)
    with pytest.raises(DeviceError, match="its code has no kernel exp_mul"):
        mlc.jit(scaled, device="gpu:0")(X)
    still_works(mock)


def test_a_launch_that_fails_names_kernel_scope_and_line(mock: MockDriver) -> None:
    f = mlc.jit(scaled, device="gpu:0")
    x = mlc.device_put(X, "gpu:0")
    f(x)
    mock.fail("cuLaunchKernel", 701)
    with pytest.raises(
        DeviceError, match=r"gpu:0: kernel exp_mul \(exp_mul on gpu:0 in encoder at .*test_failures.py:"
    ):
        f(mlc.device_put(X + 1, "gpu:0"))
    np.testing.assert_allclose(np.asarray(f(x)), np.exp(X) * 2, rtol=1e-6)
    still_works(mock)


def test_a_call_that_fails_on_its_way_has_used_up_what_was_donated(
    mock: MockDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is half of its next value is not to be read, nor trained on; what no step has touched is as it was."""
    monkeypatch.setenv("MLC_CUDA_GRAPHS", "0")

    def step(w: Any, v: Any) -> Any:
        w = w - 1
        return w, v * mnp.sum(mnp.sort(w, axis=0))

    f = mlc.jit(step, donate_argnames=("w", "v"), device="gpu:0")
    state = mlc.device_put((X, X), "gpu:0")
    before = mock.launched.total()
    state = f(*state)
    launches = mock.launched.total() - before
    assert launches > 1
    mock.fail("cuLaunchKernel", 701, after=launches - 1)
    with pytest.raises(DeviceError, match="cannot be launched"):
        f(*state)
    assert all(x.is_deleted() for x in state)
    state = mlc.device_put((X, X), "gpu:0")
    mock.fail("cuCtxPushCurrent_v2", 1)
    with pytest.raises(DeviceError, match="cannot be used"):
        f(*state)
    assert [x.tolist() for x in state] == [X.tolist()] * 2


def test_a_replay_that_fails(mock: MockDriver) -> None:
    f = mlc.jit(lambda x: mnp.sum(mnp.exp(x), axis=0) @ mnp.ones((4, 4)), device="gpu:0")
    x = mlc.device_put(X, "gpu:0")
    mock.fail("cuGraphLaunch", 701)
    f(x)
    with pytest.raises(DeviceError, match="gpu:0: a graph of kernels cannot be launched"):
        f(x)
    assert np.isfinite(np.asarray(f(x))).all()
    still_works(mock)


def test_a_wild_access_shows_late_names_its_kernel_and_loses_the_device(mock: MockDriver) -> None:
    """As on a GPU: the launch seems fine, the next wait tells, and the context is gone. The CPU goes on."""
    f = mlc.jit(scaled, device="gpu:0")
    x = mlc.device_put(X, "gpu:0")
    assert x.on is not None
    result = f(x)
    x.on.synchronize()
    mock.memory.free(x._address())  # the interpreter sees that the kernel reads what is not there
    result = f(x)
    with pytest.raises(DeviceError, match=r"kernel exp_mul \(.* in encoder at .*\) failed: an illegal memory"):
        np.asarray(result)
    assert [e.kind for e in mock.errors] == ["out_of_bounds"]
    mock.errors.clear()
    with pytest.raises(DeviceError, match="gpu:0 is lost to this process, after kernel exp_mul"):
        f(x)
    with pytest.raises(DeviceError, match="is lost"):
        mlc.device_put(X, "gpu:0")
    assert mlc.jit(scaled)(X).shape == (3, 4)
    mock.memory.adopt(x._address(), 48)  # as it was


def test_several_launches_are_all_suspects_and_step_by_step_names_one(
    mock: MockDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLC_CUDA_GRAPHS", "0")

    def f(x: Any) -> Any:
        return mnp.sum(mnp.exp(x), axis=0) @ mnp.ones((4, 4))

    mlc.jit(f, device="gpu:0")(X)
    mock.fail("cuEventSynchronize", ILLEGAL_ADDRESS, after=1)
    with pytest.raises(
        DeviceError, match=r"one of \d+ launches failed, from kernel .* to kernel .*MLC_CUDA_SYNC=1 tells"
    ):
        np.asarray(mlc.jit(f, device="gpu:0")(X))
    mlc.devices._opened.clear()
    monkeypatch.setenv("MLC_CUDA_SYNC", "1")
    x = mlc.device_put(X, "gpu:0")
    g = mlc.jit(f, device="gpu:0")
    g(x)
    mock.fail("cuStreamSynchronize", LAUNCH_FAILED)
    with pytest.raises(
        DeviceError, match=r"gpu:0: kernel \S+ \(\S+ on gpu:0 at .*\) failed: unspecified launch failure"
    ):
        g(x)


@pytest.mark.parametrize(
    "function", ["cuMemcpyHtoDAsync_v2", "cuEventRecord", "cuEventSynchronize", "cuCtxPushCurrent_v2"]
)
def test_any_function_may_fail_once(mock: MockDriver, function: str) -> None:
    f = mlc.jit(scaled, device="gpu:0")
    f(X)
    mock.fail(function, 1)
    with pytest.raises(DeviceError, match="an error"):
        f(X)
    np.testing.assert_allclose(np.asarray(f(X)), np.exp(X) * 2, rtol=1e-6)


def test_pinned_memory_is_a_wish(mock: MockDriver) -> None:
    mock.fail("cuMemHostAlloc", OUT_OF_MEMORY)
    x = mlc.device_put(np.arange(1 << 12, dtype=np.float64), "gpu:0")
    assert np.asarray(x).tolist() == list(range(1 << 12))


def test_calls_of_several_threads(mock: MockDriver) -> None:
    f = mlc.jit(lambda x: mnp.tanh(x) @ mnp.ones((4, 4)), device="gpu:0")
    f(X)
    wrong: list[object] = []

    def work(k: int) -> None:
        for _ in range(4):
            found = np.asarray(f(X * k))
            if not np.allclose(found, np.tanh(X * k) @ np.ones((4, 4)), atol=1e-5):
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_after_a_fork_is_told_and_goes_on_with_the_cpu(mock: MockDriver) -> None:
    """A context does not go over a fork: the driver would say that it was never started, and so does the mock."""
    f = mlc.jit(scaled, device="gpu:0")
    x = mlc.device_put(X, "gpu:0")
    held, expected = [f(x)], np.exp(X) * 2
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            uses = (lambda: f(x), lambda: np.asarray(x), lambda: mlc.device_put(X, "gpu:0"))
            lines = [_words_of(use) for use in uses]
            held.clear()  # its memory is the parent's
            lines.append(str(np.allclose(mlc.jit(scaled)(X), expected)))
            os.write(writing, "\n".join(lines).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with open(reading) as found:
        *told, of_cpu = found.read().split("\n")
    for line in told:
        assert line.startswith("DeviceError: ") and "spawn" in line
        assert f"gpu:0 was opened before this process was forked from process {os.getpid()}" in line
    assert len(told) == 3 and of_cpu == "True"
    np.testing.assert_allclose(np.asarray(held[0]), expected, rtol=1e-6)
    still_works(mock)


def _words_of(use: Callable[[], object]) -> str:
    try:
        return f"no error: {use()!r}"
    except Exception as error:
        return f"{type(error).__name__}: {error}".replace("\n", " ")


PROGRAM = """
import mlc, numpy as np
print(mlc.jit(lambda x: x + 1, device="gpu:0")(np.zeros(3, np.float32)))
"""


def test_no_driver_no_device_no_functions(mock: MockDriver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    f = mlc.jit(scaled, device="gpu:0")
    monkeypatch.setenv("MLC_LIBCUDA", str(tmp_path / "libcuda.so"))
    with pytest.raises(TargetError, match=r"device 'gpu:0': no CUDA driver: .*libcuda.so cannot be loaded") as caught:
        f(X)
    assert caught.value.exit_code == 5 and "MLC_LIBCUDA" in str(caught.value)
    monkeypatch.setenv("MLC_LIBCUDA", "libm.so.6")
    with pytest.raises(TargetError, match="has no function cuInit"):
        f(X)
    monkeypatch.setenv("MLC_LIBCUDA", str(mock.library))
    mock.reset(devices=0)
    with pytest.raises(TargetError, match="finds no device"):
        f(X)
    mock.reset(capability=(7, 5))
    with pytest.raises(TargetError, match="sm_75: mlc needs sm_80"):
        f(X)


def test_the_command_line_exits_with_5_without_a_driver(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(PROGRAM)
    env = {**os.environ, "MLC_LIBCUDA": str(tmp_path / "none.so")}
    done = subprocess.run(
        [sys.executable, "-m", "mlc", "run", "model.py"], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.returncode == 5 and "none.so cannot be loaded" in done.stderr
