"""Tests compile what they run: the cache on disk is off but where a test turns it on."""

from __future__ import annotations

import atexit
import os
import tempfile

os.environ.setdefault("MLC_CACHE", "0")

if os.environ.pop("PYTHONDONTWRITEBYTECODE", "") and "PYTHONPYCACHEPREFIX" not in os.environ:
    # Nothing beside the sources, then; but the many processes that tests start need not compile them one by one.
    _bytecode = tempfile.TemporaryDirectory(prefix="mlc-tests-")
    atexit.register(_bytecode.cleanup)
    os.environ["PYTHONPYCACHEPREFIX"] = _bytecode.name
