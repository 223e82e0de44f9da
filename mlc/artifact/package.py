"""The `.mlc` file: a stored zip whose members lie aligned, so that weights are mapped and not copied.

Reading trusts nothing: every member is stored, inside the file, of a size that the file has, and matches its checksum.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlc.artifact.manifest import check_manifest
from mlc.errors import ArtifactError

MANIFEST = "manifest.json"
_MAGIC = b"PK\3\4"
_ALIGNMENT = 64
_LOCAL_HEAD = 30  # bytes of a member's local header before its name
_PADDING = 0xD935  # the extra field that holds alignment bytes, as Android's zipalign uses it
_ZIP64_LIMIT = 2**31 - 1


def write(path: Path, manifest: dict[str, Any], members: Mapping[str, bytes | Path]) -> None:
    """Write the members and the manifest, which gets their sizes and checksums. The same input gives the same bytes."""
    sums = {}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as zip_file:
        for name, content in members.items():
            sums[name] = _add(zip_file, name, content)
        _add(zip_file, MANIFEST, json.dumps({**manifest, "members": sums}, indent=1).encode())


def replace_file(path: Path, data: bytes | memoryview) -> None:
    """Put `data` at `path` at once: a reader sees the old file or the new one."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".mlc-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


class Package:
    """An open artifact: its checked manifest, and its members as views of the mapped file.

    Raises ArtifactError for a file that is missing, no artifact, damaged or of a newer format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._checked: set[str] = set()
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
                self._data = memoryview(mapped)
                self._members = self._read_directory(file)
        except OSError as error:
            there = "mlc compile PROGRAM.py makes an artifact" if isinstance(error, FileNotFoundError) else None
            raise ArtifactError(f"cannot read {path}: {error.strerror or error}", hint=there) from error
        self.manifest = check_manifest(self._read_manifest(), str(path))

    def member(self, name: str) -> memoryview:
        """The bytes of a member, after its checksum was compared."""
        record = self.manifest["members"].get(name)
        view = self._view(name)
        if name in self._checked:
            return view
        if not isinstance(record, dict) or hashlib.sha256(view).hexdigest() != record.get("sha256"):
            raise ArtifactError(f"{self.path}: {name} is damaged: its checksum differs from the manifest's")
        self._checked.add(name)
        return view

    def check(self) -> None:
        """Compare the checksum of every member that the manifest lists, those that only people read too."""
        for name in self.manifest["members"]:
            self.member(name)

    def names(self) -> list[str]:
        return list(self._members)

    def _read_directory(self, file: Any) -> dict[str, zipfile.ZipInfo]:
        try:
            with zipfile.ZipFile(file) as zip_file:
                infos = zip_file.infolist()
        except (zipfile.BadZipFile, ValueError, struct.error, NotImplementedError, UnicodeDecodeError) as error:
            if bytes(self._data[:4]) == _MAGIC:
                raise ArtifactError(f"{self.path} is damaged or cut off: {error}") from error
            raise ArtifactError(
                f"{self.path} is no mlc artifact: {error}", hint="mlc.load reads what mlc compile PROGRAM.py writes"
            ) from error
        members: dict[str, zipfile.ZipInfo] = {}
        for info in infos:
            if info.filename in members:
                raise ArtifactError(f"{self.path} is damaged: it has {info.filename} twice")
            members[info.filename] = info
        return members

    def _view(self, name: str) -> memoryview:
        info = self._members.get(name)
        if info is None:
            raise ArtifactError(f"{self.path} is damaged: {name} is missing")
        at = info.header_offset
        damaged = ArtifactError(f"{self.path} is damaged: {name} does not lie inside the file as a stored member")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.file_size != info.compress_size:
            raise damaged
        if not 0 <= at <= len(self._data) - _LOCAL_HEAD or bytes(self._data[at : at + 4]) != _MAGIC:
            raise damaged
        name_size, extra_size = struct.unpack_from("<HH", self._data, at + 26)
        begin = at + _LOCAL_HEAD + name_size + extra_size
        if begin + info.file_size > len(self._data):
            raise damaged
        return self._data[begin : begin + info.file_size]

    def _read_manifest(self) -> Any:
        if MANIFEST not in self._members:
            raise ArtifactError(f"{self.path} is a zip file, but no mlc artifact: it has no {MANIFEST}")
        text = bytes(self._view(MANIFEST))
        if zlib.crc32(text) != self._members[MANIFEST].CRC:
            raise ArtifactError(f"{self.path}: damaged manifest: its checksum differs")
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ArtifactError(f"{self.path}: damaged manifest: {error}") from error


def _add(zip_file: zipfile.ZipFile, name: str, content: bytes | Path) -> dict[str, Any]:
    """Store one member, its data aligned; gives its size and checksum."""
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.external_attr = 0o644 << 16
    info.file_size = size
    file = zip_file.fp
    assert file is not None
    zip64 = 20 if size * 1.05 > _ZIP64_LIMIT else 0  # the extra field that zipfile itself adds, by its own rule
    begin = file.tell() + _LOCAL_HEAD + len(name.encode()) + zip64 + 4
    padding = -begin % _ALIGNMENT
    info.extra = struct.pack("<HH", _PADDING, padding) + bytes(padding)
    digest = hashlib.sha256()
    with zip_file.open(info, "w") as member:
        if isinstance(content, bytes):
            member.write(content)
            digest.update(content)
        else:
            with content.open("rb") as source:
                while chunk := source.read(1 << 20):
                    member.write(chunk)
                    digest.update(chunk)
    return {"bytes": size, "sha256": digest.hexdigest()}
