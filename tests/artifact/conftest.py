"""The hand-made functions as an artifact and as libraries, built once."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlc.artifact.building import TARGETS, Options, write
from mlc.artifact.manifest import Source
from tests.artifact.made_by_hand import functions

SOURCE = Source("hand.py", "0" * 64)


def emit(folder: Path, name: str, linker: str | None = None, targets: tuple[str, ...] = TARGETS) -> Path:
    """Write the hand-made functions as `folder/name`; its ending says as what."""
    path = folder / name
    write(functions(targets), path, Options(path.suffix[1:], targets, linker), SOURCE)
    return path


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with m.mlc, libm.so, libm.a and libm.h; nobody changes them."""
    folder = tmp_path_factory.mktemp("built")
    for name in ("m.mlc", "libm.so", "libm.a"):
        emit(folder, name)
    return folder
