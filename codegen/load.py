"""Object code to callable addresses in this process."""

from __future__ import annotations

import itertools
import threading
from functools import cache
from typing import Any

from mlc.errors import InternalError

_numbers = itertools.count()
_lock = threading.Lock()


def load_object(object_bytes: bytes) -> LoadedObject:
    """Links an object into this process. Objects of kernels use no symbol that they do not define.

    Raises InternalError for bytes that are no object of this machine.
    """
    from llvmlite import binding

    name = f"mlc.{next(_numbers)}"  # unique: LLVM never forgets the name of a library
    with _lock:
        jit = _jit()
        try:
            tracker = binding.JITLibraryBuilder().add_object_img(object_bytes).link(jit, name)
        except RuntimeError as error:
            raise InternalError(f"codegen: the object does not link: {error}") from error
    return LoadedObject(jit, name, tracker)


class LoadedObject:
    """Linked code. Its functions may be called as long as this object lives."""

    def __init__(self, jit: Any, name: str, tracker: Any) -> None:
        self._jit = jit
        self._name = name
        self._trackers = [tracker]  # each keeps the code mapped
        self._addresses: dict[str, int] = {}

    def address(self, name: str) -> int:
        """The address of function ``name``; KeyError if the object does not define it."""
        if name not in self._addresses:
            try:
                with _lock:
                    tracker = self._jit.lookup(self._name, name)
            except RuntimeError as error:
                raise KeyError(f"{name}: {error}") from error
            self._trackers.append(tracker)
            self._addresses[name] = tracker[name]
        return self._addresses[name]


@cache
def _jit() -> Any:
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    return binding.create_lljit_compiler(use_jit_link=True)
