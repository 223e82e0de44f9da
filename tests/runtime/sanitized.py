"""A pytest plugin: the binding that ``MLC_SANITIZED`` names, in place of the installed one."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys

NAME = "mlc.runtime._array"

loader = importlib.machinery.ExtensionFileLoader(NAME, os.environ["MLC_SANITIZED"])
spec = importlib.util.spec_from_file_location(NAME, os.environ["MLC_SANITIZED"], loader=loader)
assert spec is not None
sys.modules[NAME] = importlib.util.module_from_spec(spec)
loader.exec_module(sys.modules[NAME])
