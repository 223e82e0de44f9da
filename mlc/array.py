"""Arrays: what compiled functions take and return, and how host data becomes one."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING, Any, NoReturn, cast

import numpy as np
import numpy.typing as npt

from mlc.errors import ArgumentError, DTypeError
from mlc.ir.graph.node import TRACES, has_active_table
from mlc.ir.types import BF16, DTYPES, F32, I64, DType, dtype_of
from mlc.runtime import ArrayBase
from mlc.runtime._array import from_buffer, tensor_of, to_dlpack
from mlc.tracing.value import Value

if TYPE_CHECKING:
    from mlc.ir.types import TensorType


_PLAIN = {int, slice, type(None), type(...)}


class Array(ArrayBase, Value):
    """An immutable array in mlc's memory; made by ``asarray`` and by compiled functions.

    ``shape``, ``ndim`` and ``nbytes`` are as NumPy's; ``dtype`` is an mlc DType. ``numpy.asarray`` and DLPack give
    read-only views without a copy, and memory that is viewed is never reused. An array that was donated to a call is
    deleted: reading it raises DeletedError. Operators and methods
    (``x + y``, ``x.sum()``) are those of ``mlc.numpy``: they run compiled, at once.

    Example:
        >>> import mlc.array
        >>> x = mlc.array.asarray([[1.0, 2.0], [3.0, 4.0]])
        >>> x.shape, x.dtype, x.tolist()
        ((2, 2), f32, [[1.0, 2.0], [3.0, 4.0]])
    """

    __slots__ = ()

    @property
    def dtype(self) -> DType:
        return DTYPES[self.dtype_name]

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def device(self) -> str:
        """Where the elements are: cpu:0, gpu:0, ..."""
        return self.on.name if self.on is not None else "cpu:0"

    @property
    def type(self) -> TensorType:
        """The static TensorType of this array."""
        from mlc.ir.types import TensorType

        return TensorType(self.shape, self.dtype)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        view = _numpy_view(self)
        if dtype is not None and view.dtype != dtype:
            if copy is False:
                raise ValueError(f"a {self.dtype} array as {np.dtype(dtype).name} needs a copy")
            return view.astype(dtype)
        return view.copy() if copy else view

    def __dlpack__(
        self,
        *,
        stream: object = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> object:
        """A DLPack capsule of the memory, which must not be written to; versioned capsules say so."""
        if stream is not None or dl_device not in (None, (1, 0)):
            raise BufferError(f"dlpack: {self.type} is on the CPU, which has no streams")
        return to_dlpack(asarray(self, copy=True) if copy else self, max_version is not None and max_version[0] >= 1)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)  # kDLCPU

    def __repr__(self) -> str:
        if self.is_deleted():
            return f"Array({self.dtype}{list(self.shape)}, deleted)"
        values = np.array2string(_printable(self), separator=", ", prefix="Array(")
        return f"Array({values}, dtype={self.dtype})"

    def __format__(self, spec: str) -> str:
        """An array without axes formats as its number: ``f"{loss:.3f}"``."""
        if not spec:
            return str(self)
        if self.shape:
            raise TypeError(f"format {spec!r} of {self.type}: only arrays without axes are numbers")
        return format(self.item(), spec)

    def __getitem__(self, key: object) -> Array:
        """The elements at ``key``, as ``mlc.numpy.getitem`` has it; by ints and slices outside of traces a copy."""
        if TRACES and has_active_table():
            return super().__getitem__(key)
        try:
            plain = all(type(item) in _PLAIN for item in (key if type(key) is tuple else (key,)))
            part = _numpy_view(self)[cast(Any, key)] if plain else None
        except (IndexError, TypeError, ValueError):  # mlc.numpy says what is wrong
            part = None
        return super().__getitem__(key) if part is None else from_buffer(Array, part, True)

    def __setitem__(self, key: object, value: object) -> NoReturn:
        raise ArgumentError(
            f"setitem: {self.type} cannot be assigned to: arrays do not change",
            hint="x = x.at[key].set(value) makes the changed array, mlc.numpy.where(mask, new, old) too",
        )

    def item(self) -> bool | int | float:
        """The only element as a Python number; ArgumentError for an array of another size."""
        if not self.shape and self.dtype_name not in ("f16", "bf16"):  # formats that memoryview has not
            number: bool | int | float = memoryview(self)[()]
            return number
        if self.size != 1:
            raise ArgumentError(f"item: an array of shape {self.shape} has {self.size} elements, not one")
        return _number(_numpy_view(self).reshape(()))

    def tolist(self) -> Any:
        """Nested lists of Python numbers; a number for an array without axes."""
        return _printable(self).tolist()

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of an array without axes")
        return self.shape[0]

    def __iter__(self) -> Iterator[Array]:
        if not self.shape:
            raise TypeError("iteration over an array without axes")
        view = _numpy_view(self)
        return (asarray(view[i]) for i in range(self.shape[0]))

    def __bool__(self) -> bool:
        return bool(self._one_element("bool"))

    def __float__(self) -> float:
        return float(self._one_element("float"))

    def __int__(self) -> int:
        return int(self._one_element("int"))

    def __index__(self) -> int:
        if not self.dtype.is_integer or self.shape:
            raise TypeError(f"only integer arrays without axes are indices, not {self.type}")
        return int(self.item())

    def _one_element(self, use: str) -> bool | int | float:
        if self.shape and self.size != 1:
            raise ArgumentError(f"{use}: the truth or value of {self.type} is unclear, it has {self.size} elements")
        return self.item()

    def __hash__(self) -> int:  # type: ignore[override]  # a mixin with __eq__ has None here
        raise TypeError("arrays are not hashable")

    def __reduce__(self) -> tuple[Any, ...]:
        return asarray, (np.array(_numpy_view(self)),)

    def __contains__(self, value: object) -> bool:
        """Whether an element equals ``value``."""
        return bool((self == value).any())

    def __trunc__(self) -> int:
        return int(self)

    def tobytes(self) -> bytes:
        """The elements' bytes in C order."""
        return _numpy_view(self).tobytes()

    def to_device(self, device: str, /, *, stream: object = None) -> Array:
        """This array, for the CPU, where it is."""
        if stream is not None or str(device) not in ("cpu", "cpu:0"):
            raise ArgumentError(f"to_device: arrays are on cpu:0, not on {device!r}, and have no streams")
        return self

    def __copy__(self) -> Array:
        return asarray(self, copy=True)

    def __deepcopy__(self, memo: dict[int, Any]) -> Array:
        return asarray(self, copy=True)

    def block_until_ready(self) -> Array:
        """This array, when it is computed; calls on the CPU return when it is."""
        return self


def asarray(data: object, dtype: object = None, copy: bool | None = None) -> Array:
    """Host data (an array of any library, nested lists, numbers) as an Array.

    ``dtype`` defaults to the data's own; Python floats are f32 and ints i64. Data is copied, so that later writes to it
    are not seen; ``copy=False`` borrows contiguous memory instead and raises ValueError where it cannot. An Array of
    the wanted dtype is returned as it is unless ``copy=True``.

    Floats become integers as in ``astype``: truncated and saturated. Raises DTypeError for elements that mlc has no
    type for.
    """
    wanted = None if dtype is None else _dtype(dtype)
    if isinstance(data, Array) and not copy and wanted in (None, data.dtype):
        return data
    if wanted is None and copy is not False and type(data) is np.ndarray and data.dtype.char in "fdeilqbhBHILQ?":
        return from_buffer(Array, data if data.dtype.isnative else data.astype(data.dtype.newbyteorder("=")), True)
    host = _host_array(data, wanted)
    if copy is False and not (hasattr(data, "__array__") or _has_buffer(data)):
        raise ValueError("asarray: copy=False needs memory to borrow, which Python numbers and lists are not")
    if copy is False and not np.shares_memory(host, np.asarray(data)) and host.size:
        raise ValueError(f"asarray: {np.asarray(data).dtype} as {dtype_of(host.dtype)} needs a copy")
    if copy is False or host.dtype.isnative:
        return from_buffer(Array, host, copy is not False)
    return from_buffer(Array, host.astype(host.dtype.newbyteorder("=")), True)


def from_dlpack(x: object, /, *, device: object = None, copy: bool | None = None) -> Array:
    """The array of another library that speaks DLPack (``x.__dlpack__()``), bf16 included.

    Contiguous memory is borrowed, others copied; with ``copy=True`` always, with ``copy=False`` never: ValueError where
    it must be. The other library must not write to borrowed memory. Raises ArgumentError for what is no array on the
    CPU, DTypeError for elements that mlc has no type for.

    Example:
        >>> import numpy as np
        >>> from_dlpack(np.arange(3.0, dtype=np.float32)).tolist()
        [0.0, 1.0, 2.0]
    """
    if isinstance(x, Array) and not copy:
        return x
    if not hasattr(x, "__dlpack__") or not hasattr(x, "__dlpack_device__"):
        raise ArgumentError(f"from_dlpack: an object of type {type(x).__name__} does not speak DLPack")
    if x.__dlpack_device__()[0] != 1 or str(device) not in ("None", "cpu", "cpu:0"):
        raise ArgumentError("from_dlpack: only arrays on the CPU are taken", hint="copy it to the CPU first")
    try:
        capsule = x.__dlpack__(max_version=(1, 0))
    except TypeError:  # from before version 1
        capsule = x.__dlpack__()
    tensor = tensor_of(capsule)
    try:
        return from_buffer(Array, tensor, bool(copy))
    except ValueError:
        if copy is False:
            raise
        return from_buffer(Array, tensor, True)


def _dtype(dtype: object) -> DType:
    try:
        return dtype_of(dtype)
    except TypeError as error:
        raise DTypeError(str(error)) from None


def _has_buffer(data: object) -> bool:
    try:
        memoryview(data)  # type: ignore[arg-type]
    except TypeError:
        return False
    return True


def _host_array(data: object, wanted: DType | None) -> npt.NDArray[Any]:
    """``data`` as a NumPy array of an element type that mlc has."""
    host = np.asarray(data)
    if wanted is None and not hasattr(data, "dtype") and not _has_buffer(data):
        wanted = _default_dtype(host)
    if wanted is None:
        _dtype(host.dtype)
        return host
    if wanted.is_integer and host.dtype.kind == "f":
        from mlc.ir.graph.elementwise import saturating_cast

        return saturating_cast(host, wanted)
    try:
        return host.astype(wanted.numpy, copy=False)
    except (TypeError, ValueError):
        raise DTypeError(f"asarray: {host.dtype} elements cannot become {wanted}") from None


def _default_dtype(host: npt.NDArray[Any]) -> DType | None:
    """Python floats are f32 and ints i64; lists of typed arrays keep their type."""
    if host.dtype == np.float64 or host.size == 0:
        return F32
    return I64 if host.dtype == np.int64 else None


def _numpy_view(array: Array) -> npt.NDArray[Any]:
    """A read-only view of the memory. The buffer protocol knows no bf16, so that goes out as its bits."""
    bits = np.asarray(array._bits())
    return bits.view(BF16.numpy) if array.dtype is BF16 else bits


def _printable(array: Array) -> npt.NDArray[Any]:
    view = _numpy_view(array)
    return view.astype(np.float32) if array.dtype is BF16 else view


def _number(element: npt.NDArray[Any]) -> bool | int | float:
    value: bool | int | float = float(element) if element.dtype.name == "bfloat16" else element.item()
    return value


def operators(methods: dict[str, Any]) -> None:
    """Attach operators and methods (``{"__add__": ..., "T": property(...)}``) to Array; the front end calls it once."""
    for name, method in methods.items():
        setattr(Array, name, method)


__all__ = ["Array", "asarray", "from_dlpack", "operators"]
