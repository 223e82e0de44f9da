"""Element types and tensor types: what every value of a program is made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from .dims import Dim, Size, size_product


@dataclass(frozen=True, slots=True, eq=False)
class DType:
    """An element type: ``name`` as printed, ``kind`` one of float, int, uint, bool, and its width in bits."""

    name: str
    kind: str
    bits: int

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, DType) and self.name == other.name)

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return self.name

    @property
    def itemsize(self) -> int:
        """Bytes of one element in memory (a bool takes one)."""
        return max(self.bits // 8, 1)

    @property
    def is_float(self) -> bool:
        return self.kind == "float"

    @property
    def is_integer(self) -> bool:
        return self.kind in ("int", "uint")

    @property
    def limits(self) -> tuple[int, int]:
        """The least and the greatest value of an integer type."""
        low = -(1 << (self.bits - 1)) if self.kind == "int" else 0
        return low, low + (1 << self.bits) - 1

    @property
    def numpy(self) -> np.dtype[np.generic]:
        """The NumPy dtype; bf16 is ml_dtypes' and imported on first use."""
        if self.name == "bf16":
            import ml_dtypes

            bfloat16: np.dtype[np.generic] = np.dtype(ml_dtypes.bfloat16)
            return bfloat16
        return np.dtype(_NUMPY_NAMES[self.name])


F16 = DType("f16", "float", 16)
BF16 = DType("bf16", "float", 16)
F32 = DType("f32", "float", 32)
F64 = DType("f64", "float", 64)
I8 = DType("i8", "int", 8)
I16 = DType("i16", "int", 16)
I32 = DType("i32", "int", 32)
I64 = DType("i64", "int", 64)
U8 = DType("u8", "uint", 8)
U16 = DType("u16", "uint", 16)
U32 = DType("u32", "uint", 32)
U64 = DType("u64", "uint", 64)
BOOL = DType("bool", "bool", 1)

DTYPES: dict[str, DType] = {t.name: t for t in (F16, BF16, F32, F64, I8, I16, I32, I64, U8, U16, U32, U64, BOOL)}
_NUMPY_NAMES = {
    "f16": "float16", "f32": "float32", "f64": "float64", "bool": "bool",
    "i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64",
    "u8": "uint8", "u16": "uint16", "u32": "uint32", "u64": "uint64",
}  # fmt: skip
_FROM_NUMPY = {name: DTYPES[ours] for ours, name in _NUMPY_NAMES.items()} | {"bfloat16": BF16}


def dtype_of(spec: object) -> DType:
    """The DType that ``spec`` names: a DType, its name (``"f32"``), a NumPy dtype or scalar type, or bool/int/float.

    ``float`` is f32 and ``int`` is i64, mlc's defaults. Raises TypeError for what is no element type of mlc.
    """
    if isinstance(spec, DType):
        return spec
    if isinstance(spec, str) and (spec in DTYPES or spec in _FROM_NUMPY):
        return DTYPES.get(spec) or _FROM_NUMPY[spec]
    if spec is float:
        return F32
    try:
        name = np.dtype(spec).name  # type: ignore[call-overload]
    except TypeError:
        name = None
    if name not in _FROM_NUMPY:
        raise TypeError(f"{spec!r} is no element type of mlc; it has {', '.join(DTYPES)}")
    return _FROM_NUMPY[name]


Shape = tuple[Size, ...]


@dataclass(frozen=True, eq=True)
class TensorType:
    """The type of a value: ``shape`` (ints or symbolic Dims) and ``dtype``; prints as ``f32[128,784]``."""

    shape: Shape
    dtype: DType

    def __str__(self) -> str:
        return f"{self.dtype.name}[{','.join(map(str, self.shape))}]"

    __repr__ = __str__

    @cached_property
    def _hash(self) -> int:
        return hash((self.shape, self.dtype.name))

    def __hash__(self) -> int:
        return self._hash

    @property
    def rank(self) -> int:
        return len(self.shape)

    @cached_property
    def size(self) -> Size:
        """Number of elements."""
        return size_product(self.shape)

    @property
    def is_static(self) -> bool:
        return all(isinstance(n, int) for n in self.shape)

    def with_dtype(self, dtype: DType) -> TensorType:
        return TensorType(self.shape, dtype)

    def with_shape(self, shape: Shape) -> TensorType:
        return TensorType(shape, self.dtype)


@dataclass(frozen=True, slots=True)
class TupleType:
    """The type of an op with several results; ``get_tuple_element`` takes one of them."""

    elements: tuple[TensorType | TokenType, ...]

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.elements))})"


@dataclass(frozen=True, slots=True)
class TokenType:
    """The type of a token, which orders effects; it has no data."""

    def __str__(self) -> str:
        return "token"


TOKEN = TokenType()
ValueType = TensorType | TupleType | TokenType


def scalar(dtype: DType) -> TensorType:
    return TensorType((), dtype)


def type_of_array(array: npt.NDArray[np.generic]) -> TensorType:
    return TensorType(array.shape, dtype_of(array.dtype))


__all__ = [
    "BF16",
    "BOOL",
    "DTYPES",
    "F16",
    "F32",
    "F64",
    "I8",
    "I16",
    "I32",
    "I64",
    "TOKEN",
    "U8",
    "U16",
    "U32",
    "U64",
    "DType",
    "Dim",
    "Shape",
    "Size",
    "TensorType",
    "TokenType",
    "TupleType",
    "ValueType",
    "dtype_of",
    "scalar",
    "type_of_array",
]  # fmt: skip
