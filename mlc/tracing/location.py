"""Where in the user's program we are: the nearest frame outside mlc, and the name scopes that are open."""

from __future__ import annotations

import linecache
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from mlc.errors import ArgumentError
from mlc.ir.graph.node import Location, current_table, has_active_table

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep

DEFAULT_DEVICE_HOOKS: list[Callable[[str | None], None]] = []
"""Called with the device of the ``mlc.device`` that calls of this thread are in, whenever it changes, or None.

They raise TargetError for one that is not there; the calls are in what they were in before then.
"""

_is_ours: dict[str, bool] = {}
_found: dict[tuple[str, int, str], Location] = {}
_local = threading.local()


def user_location(depth: int = 1) -> Location:
    """The user's line that (through any frames of mlc) called the caller's ``depth``-th caller."""
    frame: FrameType | None = sys._getframe(depth + 1)
    while frame is not None:
        file = frame.f_code.co_filename
        ours = _is_ours.get(file)
        if ours is None:
            ours = _is_ours[file] = file.startswith(PACKAGE)
        if not ours:
            break
        frame = frame.f_back
    if frame is None:
        return Location("<unknown>", 0, "", current_scope())
    return _location(frame.f_code.co_filename, frame.f_lineno, current_scope())


@contextmanager
def scope(name: str) -> Iterator[None]:
    """Operations inside carry ``name``, in profiles, errors and printed graphs; nested scopes join as ``outer/inner``.

    Example:
        >>> with scope("encoder"), scope("layer0"):
        ...     current_scope()
        'encoder/layer0'
    """
    before = current_scope()
    _local.scope = f"{before}/{name}" if before else name
    try:
        yield
    finally:
        _local.scope = before


@contextmanager
def device(name: str) -> Iterator[None]:
    """Operations that a traced function does inside run on the device ``name``, and so do their derivatives.

    Devices are ``cpu:0``, the GPUs of the CUDA driver (``gpu:0``, ...) and those that ``MLC_DEVICES`` describes; one
    that is not there is a TargetError when the function is compiled. Outside of a traced function arrays are made on
    the GPU inside, and calls run there whose arguments are on none; what is neither a GPU's name nor described is a
    TargetError at once. Raises ArgumentError for what is no name.

    Example:
        >>> import mlc
        >>> def f(x):
        ...     with mlc.device("cpu:1"):
        ...         return x + 1
        >>> mlc.jit(f).lower(mlc.ShapeDtype((2,))).graph.results[0].device
        'cpu:1'
    """
    check_device_name(name)
    if not has_active_table():
        with _default_device(name):
            yield
        return
    table = current_table()
    before, table.device = table.device, name
    try:
        yield
    finally:
        table.device = before


@contextmanager
def _default_device(name: str) -> Iterator[None]:
    """Outside of traces: where arrays are made and calls run. Names that are no GPU's mean the host."""
    full = name if ":" in name else f"{name}:0"
    before = default_device()
    try:
        _set_default(full)
        yield
    finally:
        _set_default(before)


def _set_default(name: str | None) -> None:
    for told in DEFAULT_DEVICE_HOOKS:
        told(name)
    _local.device = name if name is not None and name.startswith("gpu:") else None


def default_device() -> str | None:
    """The GPU of the ``mlc.device`` around this thread's calls; None for the host."""
    found: str | None = getattr(_local, "device", None)
    return found


def check_device_name(name: object) -> None:
    """Raises ArgumentError for what cannot be the name of a device."""
    if not isinstance(name, str) or not name:
        raise ArgumentError(f"a device is named by a string, not by {name!r:.60}", hint='such as "cpu:1"')


def current_scope() -> str:
    """The open scopes of this thread, joined by slashes; empty where there is none."""
    found: str = getattr(_local, "scope", "")
    return found


def _location(file: str, line: int, name: str) -> Location:
    key = (file, line, name)
    found = _found.get(key)
    if found is None:
        text = linecache.getline(file, line).strip()
        found = _found[key] = Location(_short(file), line, text, name)
    return found


def _short(file: str) -> str:
    """The path as a reader in the working folder writes it, where the file is below that folder."""
    try:
        relative = os.path.relpath(file)
    except (ValueError, OSError):  # another drive, or the working folder is gone
        return file
    return file if relative.startswith("..") else relative
