"""The bodies that the CPU's schedules are tested with, scheduled for a GPU: threads, shared memory and barriers run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import pytest

from mlc.errors import UnsupportedError
from mlc.ir.graph import Graph
from mlc.ir.target import SM_80
from mlc.passes.schedule import KINDS
from mlc.passes.schedule.gpu import schedule_of
from tests.schedule import (
    running,
    test_cumulative,
    test_indexing,
    test_loop,
    test_movement,
    test_reduce,
    test_row,
    test_sort,
)

MODULES: tuple[ModuleType, ...] = (
    test_loop,
    test_reduce,
    test_row,
    test_movement,
    test_indexing,
    test_cumulative,
    test_sort,
)


def on_gpu(kind: str, body: Graph, arrays: Sequence[Any], tolerance: float = 0.0, **_: object) -> None:
    running.check_region(kind, body, arrays, tolerance=tolerance, targets=(SM_80,), compiled=False)


@pytest.fixture(autouse=True)
def checked_on_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in MODULES:
        monkeypatch.setattr(module, "check_region", on_gpu)


def checks(module: ModuleType) -> dict[str, Callable[..., None]]:
    """The tests of a module that check regions."""
    prefix = module.__name__.rpartition(".")[2]
    return {
        name.replace("test", prefix, 1): f
        for name, f in vars(module).items()
        if name.startswith("test_") and "check_region" in f.__code__.co_names
    }


for each in MODULES:
    globals().update(checks(each))


def test_every_kind_of_fusion_has_a_schedule() -> None:
    """So nothing falls to the host for want of one."""
    assert all(callable(schedule_of(kind)) for kind in KINDS)
    with pytest.raises(UnsupportedError, match="a fusion of kind dream has no schedule for GPUs"):
        schedule_of("dream")
