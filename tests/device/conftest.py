"""The mock driver as the machine's CUDA driver, fresh for each test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from mlc import devices
from mlc.errors import TargetError
from mlc.runtime import Device
from tests.mock_cuda import MockDriver, build


@pytest.fixture(scope="session")
def mock_library(tmp_path_factory: pytest.TempPathFactory) -> MockDriver:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs the C compiler cc, which is not here")
    return MockDriver(build(tmp_path_factory.mktemp("mock_cuda"), compiler))


@pytest.fixture(params=["mock", pytest.param("real", marks=pytest.mark.gpu)])
def gpu(request: pytest.FixtureRequest) -> Iterator[MockDriver | None]:
    """The mock driver, and with ``-m gpu`` the machine's own GPU, of which nothing is counted: None."""
    if request.param == "mock":
        yield request.getfixturevalue("mock")
        return
    request.getfixturevalue("real_gpu")
    yield None


@pytest.fixture
def real_gpu() -> Device:
    """gpu:0 of this machine."""
    try:
        return devices.open_device("gpu:0")
    except TargetError as error:
        pytest.skip(f"needs a GPU, which is not here: {error.message}")


@pytest.fixture
def mock(mock_library: MockDriver, monkeypatch: pytest.MonkeyPatch) -> Iterator[MockDriver]:
    """A machine with one GPU, gpu:0. At the end, the interpreter has found nothing wrong that the test did not take."""
    mock_library.reset()
    monkeypatch.setenv("MLC_LIBCUDA", str(mock_library.library))
    monkeypatch.setenv("MLC_CACHE", "0")
    monkeypatch.setattr(devices, "_opened", {})
    yield mock_library
    assert mock_library.errors == []
