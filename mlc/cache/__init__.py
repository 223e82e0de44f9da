"""The cache on disk: programs that were compiled before, found by what they were made from."""

from .entry import Entry, decode_entry, encode_entry
from .folder import Folder
from .key import Parts, parts_of

__all__ = ["Entry", "Folder", "Parts", "decode_entry", "encode_entry", "parts_of"]
