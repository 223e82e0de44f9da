"""Turns the public header runtime/mlc.h into the cffi API-mode module ``mlc.runtime._rt``."""

from __future__ import annotations

from pathlib import Path

from cffi import FFI

HEADER = Path(__file__).resolve().parent.parent / "mlc.h"
BEGIN, END = "/* --- interface --- */", "/* --- end of interface --- */"


def interface() -> str:
    """The part of the header between its markers: plain declarations, the subset of C that cffi reads."""
    return HEADER.read_text().split(BEGIN)[1].split(END)[0]


ffi = FFI()
ffi.cdef(interface())
ffi.set_source(
    "mlc.runtime._rt",
    '#include "mlc.h"\n',
    include_dirs=[str(HEADER.parent)],
    libraries=["pthread"],
    py_limited_api=True,
)

if __name__ == "__main__":
    ffi.compile(verbose=True)
