"""Tests compile what they run: the cache on disk is off but where a test turns it on."""

from __future__ import annotations

import atexit
import gc
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("MLC_CACHE", "0")

if "MLC_TESTS_FOLDER" not in os.environ:  # else a worker of a run that has one
    _folder = tempfile.TemporaryDirectory(prefix="mlc-tests-")
    atexit.register(_folder.cleanup)
    os.environ["MLC_TESTS_FOLDER"] = _folder.name
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", "") and "PYTHONPYCACHEPREFIX" not in os.environ:
        # Nothing beside the sources, then; but the many processes that tests start need not compile them one by one.
        os.environ["PYTHONPYCACHEPREFIX"] = f"{_folder.name}/bytecode"


def pytest_collectstart() -> None:
    """Nothing of the tests that are being collected is garbage."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Garbage is looked for among what tests make, not time and again among the thousands of tests themselves."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()


@pytest.fixture(scope="session")
def shared_cache() -> Path:
    """The cache of programs that tests run in other processes, many times: one for all tests of a run."""
    return Path(os.environ["MLC_TESTS_FOLDER"]) / "cache"


@pytest.fixture(scope="session")
def sanitized_runtime() -> Callable[[str], list[Path]]:
    """The runtime's objects with a sanitizer, compiled once for all tests of a run."""
    from tests.sanitized import runtime_objects

    return lambda sanitizer: runtime_objects("cc", sanitizer, Path(os.environ["MLC_TESTS_FOLDER"]) / "sanitized")
