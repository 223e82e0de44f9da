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
from mlc.runtime._array import from_buffer, place_on, tensor_of, to_device, to_dlpack
from mlc.tracing.location import default_device
from mlc.tracing.value import Value

if TYPE_CHECKING:
    from mlc.ir.types import TensorType


DL_CPU = (1, 0)  # kDLCPU
DL_CUDA = 2  # kDLCUDA
VECTOR_BYTES = 16  # kernels read so much of a GPU's memory at once
_PLAIN = {int, slice, type(None), type(...)}


class Array(ArrayBase, Value):
    """An immutable array in mlc's memory; made by ``asarray`` and by compiled functions.

    ``shape``, ``ndim`` and ``nbytes`` are as NumPy's; ``dtype`` is an mlc DType. ``numpy.asarray`` and DLPack give
    read-only views without a copy, and memory that is viewed is never reused. An array that was donated to a call is
    deleted: reading it raises DeletedError. Operators and methods
    (``x + y``, ``x.sum()``) are those of ``mlc.numpy``: they run compiled, at once.

    The elements may be on a GPU (``device``): then what reads them in Python waits for the GPU and copies them, DLPack
    shares the GPU's memory, and operations run there. DeviceError tells of what failed on it since the last wait.

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
        versioned = max_version is not None and max_version[0] >= 1
        if dl_device == DL_CPU and self.on is not None:
            if copy is False:
                raise ValueError(f"dlpack: {self.type} is on {self.device}; on the CPU it is a copy")
            return to_dlpack(to_device(self, None), versioned)
        if dl_device not in (None, self.__dlpack_device__()):
            here = "the CPU" if self.on is None else self.device
            raise BufferError(f"dlpack: {self.type} is on {here}, not on the DLPack device {dl_device}")
        if self.on is None and stream is not None:
            raise BufferError(f"dlpack: {self.type} is on the CPU, which has no streams")
        if self.on is not None and stream != -1:
            self.on.synchronize()  # whatever stream the other library goes on with, the elements are there
        return to_dlpack(asarray(self, copy=True) if copy else self, versioned)

    def __dlpack_device__(self) -> tuple[int, int]:
        return DL_CPU if self.on is None else (DL_CUDA, int(self.on.name.partition(":")[2]))

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
        if self.on is not None or (TRACES and has_active_table()):
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
        if self.on is not None:
            return (self[i] for i in range(self.shape[0]))
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
        """This array on ``device`` (cpu:0, gpu:0, ...): itself where it is there, else a copy.

        TargetError where the GPU is not there, ArgumentError for other names and for streams.
        """
        from mlc.devices import placed

        if stream is not None:
            raise ArgumentError("to_device: mlc orders what a device does by itself, and takes no stream")
        return to_device(self, placed(str(device), "to_device"))

    def __copy__(self) -> Array:
        return asarray(self, copy=True)

    def __deepcopy__(self, memo: dict[int, Any]) -> Array:
        return asarray(self, copy=True)

    def block_until_ready(self) -> Array:
        """This array, when it is computed; calls on the CPU return when it is. DeviceError where that failed."""
        if self.on is not None:
            self.on.synchronize()
        return self


def asarray(data: object, dtype: object = None, copy: bool | None = None) -> Array:
    """Host data (an array of any library, nested lists, numbers) as an Array.

    ``dtype`` defaults to the data's own; Python floats are f32 and ints i64. Data is copied, so that later writes to it
    are not seen; ``copy=False`` borrows contiguous memory instead and raises ValueError where it cannot. An Array of
    the wanted dtype is returned as it is unless ``copy=True``.

    Floats become integers as in ``astype``: truncated and saturated. Inside of ``mlc.device("gpu:0")`` host data goes
    to that GPU; arrays stay where they are. Raises DTypeError for elements that mlc has no type for.
    """
    wanted = None if dtype is None else _dtype(dtype)
    if isinstance(data, Array) and not copy and wanted in (None, data.dtype):
        return data
    on = data.on if isinstance(data, Array) else None
    if on is None and not isinstance(data, Array) and default_device() is not None:
        from mlc.devices import open_device

        on = open_device(str(default_device()))
    if on is None:
        return _on_host(data, wanted, copy)
    if copy is False:
        raise ValueError(f"asarray: what is not an array of {on.name}, or of another dtype, is copied to {on.name}")
    return to_device(_on_host(data, wanted, None), on)


def device_put(x: Any, device: str) -> Any:
    """``x``, a tree of arrays, numbers and host data, as Arrays on ``device`` (cpu:0, gpu:0, ...).

    Arrays that are there stay themselves. TargetError where the GPU is not there.

    Example:
        >>> import numpy as np
        >>> device_put({"w": np.zeros((2, 3), np.float32)}, "cpu:0")["w"].device
        'cpu:0'
    """
    from mlc import tree
    from mlc.devices import placed

    there = placed(device, "device_put")
    leaves, structure = tree.flatten(x)
    arrays = [leaf if isinstance(leaf, Array) else _on_host(leaf, None, None) for leaf in leaves]
    return tree.unflatten(structure, [to_device(a, there) for a in arrays])


def _on_host(data: object, wanted: DType | None, copy: bool | None) -> Array:
    """As ``asarray``, in the host's memory."""
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
    it must be. The other library must not write to borrowed memory. Memory of a CUDA device stays there, and has to be
    contiguous. Raises ArgumentError for what is on another device, DTypeError for elements that mlc has no type for.

    Example:
        >>> import numpy as np
        >>> from_dlpack(np.arange(3.0, dtype=np.float32)).tolist()
        [0.0, 1.0, 2.0]
    """
    if isinstance(x, Array) and not copy:
        return x
    if not hasattr(x, "__dlpack__") or not hasattr(x, "__dlpack_device__"):
        raise ArgumentError(f"from_dlpack: an object of type {type(x).__name__} does not speak DLPack")
    kind, number = x.__dlpack_device__()
    if kind == DL_CUDA:
        return _of_cuda(x, int(number), device, copy)
    if kind != DL_CPU[0] or str(device) not in ("None", "cpu", "cpu:0"):
        raise ArgumentError("from_dlpack: only arrays on the CPU and on CUDA devices are taken, and stay there",
                            hint="copy it to the CPU first")  # fmt: skip
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


def _of_cuda(x: Any, number: int, device: object, copy: bool | None) -> Array:
    """An array that borrows memory of CUDA device ``number``, when the other library has written it."""
    from mlc.devices import open_device

    on = open_device(f"gpu:{number}")
    if str(device) not in ("None", on.name):
        raise ArgumentError(f"from_dlpack: the array is on {on.name}, not on {device}", hint="use its to_device")
    tensor = tensor_of(x.__dlpack__(stream=on.stream))
    try:
        borrowed = place_on(from_buffer(Array, tensor, False), on)
    except ValueError:
        raise ArgumentError("from_dlpack: memory of a GPU has to be contiguous", hint="copy it there first") from None
    if borrowed.nbytes and borrowed._address() % VECTOR_BYTES:
        if copy is False:
            raise ValueError(f"from_dlpack: memory of a GPU that is not aligned to {VECTOR_BYTES} bytes needs a copy")
        copy = True
    return to_device(to_device(borrowed, None), on) if copy else borrowed


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


__all__ = ["Array", "asarray", "device_put", "from_dlpack", "operators"]
