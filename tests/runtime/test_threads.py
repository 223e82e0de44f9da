"""The pool: any number of threads gives the same result, also after a fork."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest

import mlc
from mlc.array import asarray
from mlc.errors import ArgumentError
from mlc.runtime import num_threads, set_num_threads
from mlc.runtime._rt import lib

from .conftest import Load
from .plans import stress, stress_expected


@pytest.fixture(autouse=True)
def default_threads() -> Iterator[None]:
    yield
    set_num_threads(0)


def check(load: Load, n: int) -> None:
    x = np.arange(n, dtype=np.float32) % 11
    for y, expected in zip(load(stress())([asarray(x)]), stress_expected(x), strict=True):
        np.testing.assert_array_equal(np.asarray(y), expected)


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_stress(load: Load, threads: int) -> None:
    set_num_threads(threads)
    assert num_threads() == threads
    for i in range(300):
        check(load, 1 + i * 3)


def test_changing_the_number_of_threads_between_calls(load: Load) -> None:
    for threads in (2, 1, 3, 0, 2):
        set_num_threads(threads)
        check(load, 500)


def test_numbers_that_make_no_sense() -> None:
    for threads in (-1, 1025, 1 << 40):
        with pytest.raises(ArgumentError):
            set_num_threads(threads)


def test_threads_of_a_block(load: Load) -> None:
    """Any number, nested, with the same bits; other threads of the program keep theirs."""
    default = num_threads()
    seen: list[int] = []
    for number in (1, 3, 2, 3, 5, default):
        with mlc.threads(number):
            assert num_threads() == number
            check(load, 700)
            with mlc.threads(2):
                assert num_threads() == 2
                check(load, 701)
            assert num_threads() == number
            thread = threading.Thread(target=lambda: seen.append(num_threads()))
            thread.start()
            thread.join()
    assert num_threads() == default and set(seen) == {default}
    with pytest.raises(ZeroDivisionError), mlc.threads(3):
        _ = 1 / 0
    assert num_threads() == default
    for number in (0, -1, 1025):
        with pytest.raises(ArgumentError, match=f"threads: {number} is no number of threads"), mlc.threads(number):
            pass


def test_the_default_respects_affinity_and_environment() -> None:
    pin = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])"
    command = [sys.executable, "-c", f"{pin}; import mlc.runtime; print(mlc.runtime.num_threads())"]
    for setting, expected in (("3", 3), ("", 1)):
        environment = os.environ | {"MLC_NUM_THREADS": setting}
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert int(result.stdout) == expected
    for setting in ("none", "0", "-2", "1.5", "2000", "99999999999999999999"):
        environment = os.environ | {"MLC_NUM_THREADS": setting}
        result = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert f"MLC_NUM_THREADS={setting} is no number of threads: it is 1 to 1024" in result.stderr
    assert 1 <= lib.mlc_cpu_count() <= len(os.sched_getaffinity(0))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_recreates_the_threads(load: Load) -> None:
    set_num_threads(3)
    check(load, 900)
    for _ in range(5):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                check(load, 900)
                check(load, 901)
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        check(load, 900)
