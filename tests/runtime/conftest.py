"""Kernels compiled with cc, so that the runtime is tested without the compiler."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mlc.array import Array
from mlc.ir.dims import evaluate_size
from mlc.ir.plan import Plan, encode
from mlc.ir.types import TensorType
from mlc.runtime import Executable

from .plans import CONSTANT, KERNELS

HERE = Path(__file__).resolve().parent
Load = Callable[[Plan], Executable]


@pytest.fixture(scope="session")
def cc() -> str:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs the C compiler cc, which is not here")
    return compiler


@pytest.fixture(scope="session")
def kernels(cc: str, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    library = tmp_path_factory.mktemp("kernels") / "kernels.so"
    subprocess.run([cc, "-std=c11", "-O2", "-shared", "-fPIC", "-o", library, HERE / "kernels.c"], check=True)
    return ctypes.CDLL(str(library))


def concrete_shape(tensor: TensorType) -> tuple[int, ...]:
    return tuple(evaluate_size(n, {}) for n in tensor.shape)


def addresses(library: ctypes.CDLL) -> list[int]:
    return [ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0 for name in KERNELS]


@pytest.fixture(scope="session")
def load(kernels: ctypes.CDLL) -> Load:
    """Turns a Plan over KERNELS into an Executable; its constants are all CONSTANT."""

    def make(plan: Plan) -> Executable:
        constants = [np.full(concrete_shape(c.type), CONSTANT, c.type.dtype.numpy) for c in plan.constants]
        return Executable(encode(plan), addresses(kernels), constants, kernels, Array)

    return make
