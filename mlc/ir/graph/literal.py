"""The elements of constants as text: numbers where those are exact, bytes otherwise, a digest where they are many."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ..bits import parse_bits, print_bits
from ..types import BOOL, DType, TensorType
from .node import SMALL_CONSTANT_BYTES, Literal, is_large

READABLE_ELEMENTS = 16  # longer constants are printed as bytes


def print_elements(literal: Literal) -> str:
    """The value in C order: ``1.0``, ``[1, 2]``, ``splat 0.0``, ``hex "0000803f"`` or ``resource "<digest>"``."""
    if is_large(literal):
        return f'resource "{literal.digest}"'
    elements = bits_of_array(literal.array, literal.dtype)
    if literal.array.ndim == 0:
        return _print(elements[0], literal.dtype)
    if len(elements) > 1 and len(set(elements)) == 1:
        return f"splat {_print(elements[0], literal.dtype)}"
    if len(elements) > READABLE_ELEMENTS:
        return f'hex "{literal.array.tobytes().hex()}"'
    return f"[{', '.join(_print(b, literal.dtype) for b in elements)}]"


def read_elements(
    form: str, words: list[str], type: TensorType, resources: Mapping[str, npt.NDArray[np.generic]]
) -> Literal:
    """The inverse of ``print_elements``: ``form`` is number, list, splat, hex or resource.

    Raises ValueError, in words for the reader of the text, for what is no constant of ``type``.
    """
    if not type.is_static:
        raise ValueError(f"a constant has no symbolic sizes: {type}")
    shape = tuple(n for n in type.shape if isinstance(n, int))
    count = math.prod(shape)
    if form == "resource":
        return _resource(words[0], type, shape, resources)
    if count * type.dtype.itemsize > SMALL_CONSTANT_BYTES:
        raise ValueError(f"{type} is over {SMALL_CONSTANT_BYTES} bytes and must be a resource")
    if form == "hex":
        data = bytes.fromhex(words[0])
        if len(data) != count * type.dtype.itemsize:
            raise ValueError(f"{len(data)} bytes are no {type}")
        if type.dtype == BOOL and any(b > 1 for b in data):
            raise ValueError("a bool is the byte 00 or 01")
        return Literal(np.frombuffer(data, type.dtype.numpy).reshape(shape), type.dtype)
    if form == "number" and shape:
        raise ValueError(f"one number is no {type}; write splat")
    bits = [_parse(w, type.dtype) for w in words]
    if form == "splat":
        bits = bits * count
    if len(bits) != count:
        raise ValueError(f"{len(bits)} elements are no {type}, which has {count}")
    raw = np.array(bits, dtype=f"u{type.dtype.itemsize}")
    return Literal((raw.astype(bool) if type.dtype == BOOL else raw.view(type.dtype.numpy)).reshape(shape), type.dtype)


def bits_of_array(array: npt.NDArray[np.generic], dtype: DType) -> list[int]:
    """The elements' bit patterns in C order."""
    return [int(b) for b in np.frombuffer(array.tobytes(), dtype=f"u{dtype.itemsize}")]


def _resource(
    digest: str, type: TensorType, shape: tuple[int, ...], resources: Mapping[str, npt.NDArray[np.generic]]
) -> Literal:
    if digest not in resources:
        raise ValueError(f"no resource {digest} was given")
    array = resources[digest]
    if array.shape != shape or array.dtype != type.dtype.numpy:
        raise ValueError(f"the resource is {array.dtype}{list(array.shape)}, not {type}")
    literal = Literal(array, type.dtype)
    if literal.digest != digest:
        raise ValueError("the resource has other bytes than the digest says")
    return literal


def _print(bits: int, dtype: DType) -> str:
    """Shortest decimal where it reads back as the same bits, else the bits."""
    text = print_bits(bits, dtype)
    try:
        exact = parse_bits(text, dtype) == bits
    except (ValueError, ArithmeticError):
        exact = False
    return text if exact else f"{bits:#x}"


def _parse(word: str, dtype: DType) -> int:
    try:
        return parse_bits(word, dtype)
    except Exception as error:
        raise ValueError(f"{word} is no {dtype}") from error
