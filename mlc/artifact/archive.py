"""Objects to a static library: the common `ar` format with its symbol index, as linkers read it."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from mlc.errors import InternalError

_MAGIC = b"!<arch>\n"
_SYMTAB, _GLOBAL, _WEAK = 2, 1, 2


def archive(members: Sequence[tuple[str, bytes]]) -> bytes:
    """An archive of (name, ELF64 object) members; the same members give the same bytes."""
    long_names, fields = _name_fields([name for name, _ in members])
    index = [(symbol, i) for i, (_, data) in enumerate(members) for symbol in defined_symbols(data)]
    strings = b"".join(symbol + b"\0" for symbol, _ in index)
    index_size = 4 + 4 * len(index) + len(strings)
    position = len(_MAGIC) + _padded(index_size) + (_padded(len(long_names)) if long_names else 0)
    offsets = []
    for _, data in members:
        offsets.append(position)
        position += _padded(len(data))
    table = struct.pack(f">I{len(index)}I", len(index), *(offsets[i] for _, i in index))
    parts = [_MAGIC, _member(b"/", table + strings)]
    if long_names:
        parts.append(_member(b"//", long_names))
    parts += [_member(field, data) for field, (_, data) in zip(fields, members, strict=True)]
    return b"".join(parts)


def defined_symbols(data: bytes) -> list[bytes]:
    """The global and weak symbols that an ELF64 little-endian object defines."""
    if data[:6] != b"\x7fELF\x02\x01":
        raise InternalError("archive: a member is no 64-bit little-endian ELF object")
    (section_offset,) = struct.unpack_from("<Q", data, 40)
    entry_size, count = struct.unpack_from("<HH", data, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, section_offset + i * entry_size) for i in range(count)]
    found = []
    for _, kind, _, _, offset, size, link, _, _, width in sections:
        if kind != _SYMTAB:
            continue
        strings = sections[link][4]
        for at in range(offset, offset + size, width):
            name, info, _, section = struct.unpack_from("<IBBH", data, at)
            if info >> 4 in (_GLOBAL, _WEAK) and section != 0:
                end = data.index(b"\0", strings + name)
                found.append(data[strings + name : end])
    return found


def _name_fields(names: Sequence[str]) -> tuple[bytes, list[bytes]]:
    """The table of long names, and what each member's name field says."""
    table, fields = b"", []
    for name in names:
        text = name.encode() + b"/"
        if len(text) <= 16:
            fields.append(text)
        else:
            fields.append(b"/%d" % len(table))
            table += text + b"\n"
    return table, fields


def _member(field: bytes, data: bytes) -> bytes:
    head = b"%-16s%-12d%-6d%-6d%-8s%-10d`\n" % (field, 0, 0, 0, b"644", len(data))
    return head + data + b"\n" * (len(data) % 2)


def _padded(size: int) -> int:
    """Bytes of a member of `size` bytes with its head, at even offsets."""
    return 60 + size + size % 2
