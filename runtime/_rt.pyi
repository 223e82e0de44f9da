"""The cffi module of runtime/mlc.h."""

from typing import Any

ffi: Any
lib: Any
