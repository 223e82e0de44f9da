"""Objects to a shared library: with `cc`, else `zig cc` of the ziglang wheel, else plain `ld`."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from mlc.errors import TargetError, UnsupportedError

# -Bsymbolic: a library's calls reach its own runtime, whatever else the process holds.
_FLAGS = ("-Bsymbolic", "--strip-debug", "--hash-style=gnu", "-z", "relro", "-z", "now", "-z", "noexecstack")
_LIBC = ("/lib/x86_64-linux-gnu/libc.so.6", "/lib64/libc.so.6", "/usr/lib/libc.so.6", "/usr/lib64/libc.so.6")


def link_shared(objects: Sequence[Path], output: Path, linker: str | None = None) -> str:
    """Link `objects` into the shared library `output`, put in place at once; gives the linker's name.

    `linker` is one of LINKERS, default the first that is there. TargetError where none is, UnsupportedError with the
    linker's own words where it fails.
    """
    name = find_linker(linker)
    command = LINKERS[name]()
    assert command is not None
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".link-") as folder:
        linked = Path(folder) / output.name
        soname = ["-soname", output.name]
        if name == "ld":
            libc = [p for p in _LIBC if Path(p).exists()][:1]
            words = [*command, "-shared", *_FLAGS, *soname, "-o", str(linked), *map(str, objects), *libc]
        else:
            flags = [word for flag in (*_FLAGS, *soname) for word in ("-Xlinker", flag)]  # -Wl, would split at commas
            words = [*command, "-shared", "-pthread", *flags, "-o", str(linked), *map(str, objects)]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode != 0:
            raise UnsupportedError(f"{name} could not link {output.name}:\n{done.stderr.strip()[-2000:]}")
        os.replace(linked, output)
    return name


def find_linker(wanted: str | None = None) -> str:
    """``wanted``, or the first of LINKERS that is on this machine; TargetError where it is not, or none is."""
    if wanted is not None:
        if LINKERS[wanted]() is None:
            raise TargetError(f"the linker {wanted!r} is not on this machine", hint=_HINT)
        return wanted
    for name, command in LINKERS.items():
        if command() is not None:
            return name
    raise TargetError("no linker: neither cc, zig nor ld is on this machine", hint=_HINT)


def available_linkers() -> list[str]:
    """All of LINKERS that are on this machine."""
    return [name for name, command in LINKERS.items() if command() is not None]


def _cc() -> list[str] | None:
    path = shutil.which("cc")
    return [path] if path else None


def _zig() -> list[str] | None:
    if importlib.util.find_spec("ziglang") is None:
        return None
    return [sys.executable, "-m", "ziglang", "cc", "-target", "x86_64-linux-gnu"]


def _ld() -> list[str] | None:
    path = shutil.which("ld") or shutil.which("ld.lld")
    return [path] if path else None


LINKERS: dict[str, Callable[[], list[str] | None]] = {"cc": _cc, "zig": _zig, "ld": _ld}
_HINT = "install a C compiler, or `pip install ziglang`"
