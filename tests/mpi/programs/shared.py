"""MPI in a process where another library starts it, or ends it, as mpi4py does."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import numpy as np

import mlc
from mlc.errors import DistributedError

LIBRARIES = Path(sys.prefix) / "lib"


def start(library: str, level: int) -> ctypes.CDLL:
    """Another user of MPI, for threads of a level: 0 is MPI_THREAD_SINGLE in each of them."""
    path = LIBRARIES / library
    other = ctypes.CDLL(str(path) if path.exists() else library, ctypes.RTLD_GLOBAL)
    provided = ctypes.c_int(-1)
    assert other.MPI_Init_thread(None, None, level, ctypes.byref(provided)) == 0
    return other


def refused(call: object, words: str) -> None:
    try:
        call()  # type: ignore[operator]
    except DistributedError as error:
        assert words in str(error), error
        print("refused", flush=True)
    else:
        raise SystemExit("it was not refused")


def total() -> None:
    assert float(mlc.all_reduce(np.float32(1))) == mlc.distributed.size() == 2


def main(what: str, library: str, level: int) -> None:
    ended = "MPI has ended in this process, by another library's MPI_Finalize"
    if what == "started":
        other = start(library, level)
        total()
        mlc.distributed.finalize()
        assert other.MPI_Finalize() == 0  # it is theirs to end
    elif what == "started for one thread":
        other = start(library, 0)
        refused(mlc.distributed.init, "MPI was started in this process by another library for fewer threads")
        assert other.MPI_Finalize() == 0
    elif what == "ended before":
        start(library, level).MPI_Finalize()
        refused(mlc.distributed.init, ended)
    elif what == "ended between":
        total()
        ctypes.CDLL(None).MPI_Finalize()
        refused(total, ended)
        refused(lambda: mlc.jit(lambda x: mlc.all_reduce(x) * 2)(np.float32(1)), ended)
    elif what == "ended before the exit":
        total()
        ctypes.CDLL(None).MPI_Finalize()
    print("done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
