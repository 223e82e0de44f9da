"""Machine code in this process: objects placed once, kernels found by what they were made from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from .errors import InternalError
from .options import Options
from .runtime import Code


@dataclass(frozen=True, slots=True)
class KernelCode:
    """One kernel: its key, the object that has it, and where it is as long as ``owner`` lives."""

    key: str
    object: str
    symbol: str
    address: int
    owner: Code


class Linked:
    """Objects by the digest of their bytes, kernels by ``kernel_key``."""

    def __init__(self) -> None:
        self._objects: dict[str, Code] = {}
        self._kernels: dict[str, KernelCode] = {}

    def add_object(self, object_bytes: bytes) -> str:
        """Place an object's code; its digest. InternalError where it does not link."""
        digest = object_digest(object_bytes)
        if digest not in self._objects:
            try:
                self._objects[digest] = Code(object_bytes)
            except ValueError as error:
                raise InternalError(f"the generated object does not link: {error}") from error
        return digest

    def has_object(self, digest: str) -> bool:
        return digest in self._objects

    def object(self, digest: str) -> Code:
        return self._objects[digest]

    def add_kernel(self, key: str, digest: str, symbol: str) -> KernelCode:
        """Kernel ``symbol`` of an object that was added. KeyError where the object does not define it."""
        owner = self._objects[digest]
        found = self._kernels[key] = KernelCode(key, digest, symbol, owner.address(symbol), owner)
        return found

    def __contains__(self, key: str) -> bool:
        return key in self._kernels

    def __getitem__(self, key: str) -> KernelCode:
        return self._kernels[key]


LINKED = Linked()


def kernel_key(canonical_text: str, options: Options) -> str:
    """A name of what a kernel's code is made from."""
    made_from = canonical_text, options.target.name, options.llvm_opt, sorted(options.skip)
    return hashlib.sha256(repr(made_from).encode()).hexdigest()


def object_digest(object_bytes: bytes) -> str:
    return hashlib.sha256(object_bytes).hexdigest()
