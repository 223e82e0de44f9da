"""Value: the operators and methods that a traced value and an mlc.Array have in common, all defined by mlc.numpy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from mlc.errors import ArgumentError

from .location import user_location

if TYPE_CHECKING:
    from mlc.ir.dims import Size
    from mlc.ir.types import DType, Shape

V = TypeVar("V", bound="Value")
_numpy_module: ModuleType | None = None


def _call(value: V, name: str, *operands: Any, **options: Any) -> V:
    """The function ``name`` of mlc.numpy, imported on first use since it imports this; the result is a value."""
    global _numpy_module
    if _numpy_module is None:
        import mlc.numpy

        _numpy_module = mlc.numpy
    result: V = getattr(_numpy_module, name)(*operands, **options)
    return result


class Value:
    """An array of a program: a Tracer while a function is traced, an mlc.Array outside.

    Subclasses have ``shape`` and ``dtype``. Operators promote as mlc.numpy does; comparisons are elementwise, so values
    are not hashable.
    """

    __slots__ = ()
    __array_priority__ = 100  # NumPy arrays leave `array + value` to us
    __hash__ = None  # type: ignore[assignment]

    if TYPE_CHECKING:  # what subclasses have; not defined here, where it would come before a C base class

        @property
        def shape(self) -> Shape: ...

        @property
        def dtype(self) -> DType: ...

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def T(self) -> Self:
        """The axes in reverse order."""
        return _call(self, "permute_dims", self, None)

    @property
    def mT(self) -> Self:
        """The last two axes swapped."""
        return _call(self, "matrix_transpose", self)

    def __add__(self, other: object) -> Self:
        return _call(self, "add", self, other)

    def __radd__(self, other: object) -> Self:
        return _call(self, "add", other, self)

    def __sub__(self, other: object) -> Self:
        return _call(self, "subtract", self, other)

    def __rsub__(self, other: object) -> Self:
        return _call(self, "subtract", other, self)

    def __mul__(self, other: object) -> Self:
        return _call(self, "multiply", self, other)

    def __rmul__(self, other: object) -> Self:
        return _call(self, "multiply", other, self)

    def __truediv__(self, other: object) -> Self:
        return _call(self, "divide", self, other)

    def __rtruediv__(self, other: object) -> Self:
        return _call(self, "divide", other, self)

    def __floordiv__(self, other: object) -> Self:
        return _call(self, "floor_divide", self, other)

    def __rfloordiv__(self, other: object) -> Self:
        return _call(self, "floor_divide", other, self)

    def __mod__(self, other: object) -> Self:
        return _call(self, "remainder", self, other)

    def __rmod__(self, other: object) -> Self:
        return _call(self, "remainder", other, self)

    def __pow__(self, other: object) -> Self:
        return _call(self, "pow", self, other)

    def __rpow__(self, other: object) -> Self:
        return _call(self, "pow", other, self)

    def __matmul__(self, other: object) -> Self:
        return _call(self, "matmul", self, other)

    def __rmatmul__(self, other: object) -> Self:
        return _call(self, "matmul", other, self)

    def __and__(self, other: object) -> Self:
        return _call(self, "bitwise_and", self, other)

    def __rand__(self, other: object) -> Self:
        return _call(self, "bitwise_and", other, self)

    def __or__(self, other: object) -> Self:
        return _call(self, "bitwise_or", self, other)

    def __ror__(self, other: object) -> Self:
        return _call(self, "bitwise_or", other, self)

    def __xor__(self, other: object) -> Self:
        return _call(self, "bitwise_xor", self, other)

    def __rxor__(self, other: object) -> Self:
        return _call(self, "bitwise_xor", other, self)

    def __lshift__(self, other: object) -> Self:
        return _call(self, "bitwise_left_shift", self, other)

    def __rlshift__(self, other: object) -> Self:
        return _call(self, "bitwise_left_shift", other, self)

    def __rshift__(self, other: object) -> Self:
        return _call(self, "bitwise_right_shift", self, other)

    def __rrshift__(self, other: object) -> Self:
        return _call(self, "bitwise_right_shift", other, self)

    def __eq__(self, other: object) -> Any:
        return _call(self, "equal", self, other)

    def __ne__(self, other: object) -> Any:
        return _call(self, "not_equal", self, other)

    def __lt__(self, other: object) -> Self:
        return _call(self, "less", self, other)

    def __le__(self, other: object) -> Self:
        return _call(self, "less_equal", self, other)

    def __gt__(self, other: object) -> Self:
        return _call(self, "greater", self, other)

    def __ge__(self, other: object) -> Self:
        return _call(self, "greater_equal", self, other)

    def __neg__(self) -> Self:
        return _call(self, "negative", self)

    def __pos__(self) -> Self:
        return _call(self, "positive", self)

    def __divmod__(self, other: object) -> tuple[Self, Self]:
        return self // other, self % other

    def __rdivmod__(self, other: object) -> tuple[Self, Self]:
        return other // self, other % self

    def __round__(self, ndigits: int | None = None) -> Self:
        """To the nearest integer, or multiple of ``10**-ndigits``, halves to even; of the same element type."""
        if ndigits is None or (self.dtype.is_integer and ndigits >= 0):
            return _call(self, "round", self)
        if self.dtype.is_integer:
            step = 10**-ndigits
            below = self // step
            rest = self - below * step
            up = (rest > step // 2) | ((rest == step // 2) & (below % 2 == 1))
            nearest: Self = (below + _call(self, "astype", up, self.dtype)) * step
            return nearest
        scale = 10.0 ** abs(ndigits)
        if ndigits >= 0:
            return _call(self, "round", self * scale) / scale
        return _call(self, "round", self / scale) * scale

    def __array_namespace__(self, api_version: str | None = None) -> ModuleType:
        """mlc.numpy, for programs written to the array API."""
        import mlc.numpy

        return mlc.numpy

    def __abs__(self) -> Self:
        return _call(self, "abs", self)

    def __invert__(self) -> Self:
        return _call(self, "bitwise_invert", self)

    def __getitem__(self, key: object) -> Self:
        return _call(self, "getitem", self, key)

    @property
    def at(self) -> Any:
        """``x.at[key].set(v)``, ``add``, ``multiply``, ``min``, ``max``: ``x`` with the elements at ``key`` changed."""
        return _call(self, "Updates", self)

    def __iter__(self) -> Iterator[Any]:
        return iter([self[i] for i in range(len(self))])

    def __len__(self) -> int:
        n = self.shape[0] if self.shape else None
        if isinstance(n, int):
            return n
        raise ArgumentError(
            "len: the value has rank 0" if n is None else f"len: the first size, {n}, is symbolic",
            location=str(user_location(1)),
            hint=None if n is None else "x.shape[0] is that size, to compute with",
        )

    def astype(self, dtype: object, *, copy: bool = True) -> Self:
        """Converted to ``dtype``; floats to integers truncate and saturate. ``copy`` decides nothing here."""
        return _call(self, "astype", self, dtype)

    def reshape(self, *shape: Size | Sequence[Size]) -> Self:
        """The same elements in another shape; one size may be -1."""
        flat = shape[0] if len(shape) == 1 and isinstance(shape[0], Sequence) else shape
        return _call(self, "reshape", self, flat)

    def transpose(self, *axes: int | Sequence[int]) -> Self:
        """The axes in the order ``axes``; reversed where none are given."""
        flat = axes[0] if len(axes) == 1 and isinstance(axes[0], Sequence) else axes
        return _call(self, "permute_dims", self, tuple(flat) or None)

    def ravel(self) -> Self:
        return _call(self, "reshape", self, (-1,))

    def flatten(self) -> Self:
        return _call(self, "reshape", self, (-1,))

    def squeeze(self, axis: int | Sequence[int] | None = None) -> Self:
        return _call(self, "squeeze", self, axis)

    def sum(self, axis: int | Sequence[int] | None = None, *, dtype: object = None, keepdims: bool = False) -> Self:
        return _call(self, "sum", self, axis, dtype=dtype, keepdims=keepdims)

    def prod(self, axis: int | Sequence[int] | None = None, *, dtype: object = None, keepdims: bool = False) -> Self:
        return _call(self, "prod", self, axis, dtype=dtype, keepdims=keepdims)

    def mean(self, axis: int | Sequence[int] | None = None, *, keepdims: bool = False) -> Self:
        return _call(self, "mean", self, axis, keepdims=keepdims)

    def var(self, axis: int | Sequence[int] | None = None, *, correction: float = 0, keepdims: bool = False) -> Self:
        return _call(self, "var", self, axis, correction=correction, keepdims=keepdims)

    def std(self, axis: int | Sequence[int] | None = None, *, correction: float = 0, keepdims: bool = False) -> Self:
        return _call(self, "std", self, axis, correction=correction, keepdims=keepdims)

    def max(self, axis: int | Sequence[int] | None = None, *, keepdims: bool = False) -> Self:
        return _call(self, "max", self, axis, keepdims=keepdims)

    def min(self, axis: int | Sequence[int] | None = None, *, keepdims: bool = False) -> Self:
        return _call(self, "min", self, axis, keepdims=keepdims)

    def any(self, axis: int | Sequence[int] | None = None, *, keepdims: bool = False) -> Self:
        return _call(self, "any", self, axis, keepdims=keepdims)

    def all(self, axis: int | Sequence[int] | None = None, *, keepdims: bool = False) -> Self:
        return _call(self, "all", self, axis, keepdims=keepdims)

    def argmax(self, axis: int | None = None, *, keepdims: bool = False) -> Self:
        return _call(self, "argmax", self, axis, keepdims=keepdims)

    def argmin(self, axis: int | None = None, *, keepdims: bool = False) -> Self:
        return _call(self, "argmin", self, axis, keepdims=keepdims)

    def cumsum(self, axis: int | None = None, *, dtype: object = None) -> Self:
        return _call(self, "cumulative_sum", self if axis is not None else self.ravel(), axis=axis or 0, dtype=dtype)

    def cumprod(self, axis: int | None = None, *, dtype: object = None) -> Self:
        return _call(self, "cumulative_prod", self if axis is not None else self.ravel(), axis=axis or 0, dtype=dtype)

    def sort(self, axis: int = -1) -> Self:
        """Sorted: another value, unlike NumPy's method, since values do not change."""
        return _call(self, "sort", self, axis=axis)

    def argsort(self, axis: int = -1) -> Self:
        return _call(self, "argsort", self, axis=axis)

    def take(self, indices: object, axis: int | None = None) -> Self:
        return _call(self, "take", self if axis is not None else self.ravel(), indices, axis=axis or 0)

    def repeat(self, repeats: int, axis: int | None = None) -> Self:
        return _call(self, "repeat", self if axis is not None else self.ravel(), repeats, axis=axis or 0)

    def swapaxes(self, axis1: int, axis2: int) -> Self:
        return _call(self, "swapaxes", self, axis1, axis2)

    def round(self, decimals: int = 0) -> Self:
        return self.__round__(decimals or None)

    def copy(self) -> Self:
        return _call(self, "asarray", self, copy=True)

    def clip(self, min: object = None, max: object = None) -> Self:
        return _call(self, "clip", self, min, max)
