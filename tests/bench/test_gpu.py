"""The benchmark of a GPU measures and writes its page: through the mock driver, with sizes for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.__main__ import main
from tests.bench.gpu import page
from tests.device.conftest import mock, mock_library  # noqa: F401
from tests.mock_cuda import MockDriver


def test_the_page_names_device_driver_and_day(
    mock: MockDriver,  # noqa: F811
) -> None:
    from tests.bench import gpu

    report = gpu.measure_gpu((), "quick", 0.0, None, model=False)
    text = page(report)
    assert "Mock 0 (sm_80), driver of CUDA 12.4, 20" in text
    operations = report["mlc"]["operations"]
    assert all(value > 0 for value in operations.values()) and all(name in text for name in operations)
    assert {n.split()[0] for n in operations} == {"copy", "elementwise", "sum", "softmax", "matmul", "small"}
    torch = {"version": "2", "operations": dict.fromkeys(operations, 1.5), "steps": {}}
    text = page({**report, "torch": torch, "mnist_cnn": {"data": "mnist", "accuracy": 0.992}})
    assert "| mlc | torch |" in text and "| 1.5 |" in text and "test accuracy 0.9920" in text


def test_without_a_gpu_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlc import devices

    monkeypatch.setenv("MLC_LIBCUDA", str(tmp_path / "none.so"))
    monkeypatch.setattr(devices, "_opened", {})
    assert main(["--device", "gpu", "--page", str(tmp_path / "page.md")]) == 5
    assert not (tmp_path / "page.md").exists()
