"""Object code to callable addresses in this process."""

from __future__ import annotations

from mlc.errors import InternalError
from mlc.runtime._array import Code


def load_object(object_bytes: bytes) -> LoadedObject:
    """Links an object into this process. Objects of kernels use no symbol that they do not define.

    Raises InternalError for bytes that are no such object of this machine.
    """
    try:
        return Code(object_bytes)
    except ValueError as error:
        raise InternalError(f"codegen: the object does not link: {error}") from error


LoadedObject = Code  # its functions (`address(name)`) may be called as long as it lives
