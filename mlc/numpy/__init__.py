"""mlc.numpy: the Python array API's functions on values of mlc, traced inside a compiled function, run at once outside.

Defaults are float32 and int64; Python numbers are weak; ``mlc.numpy.float32`` and the like are element types.
"""

from math import e, inf, nan, pi

from mlc.ir.types import BF16 as bfloat16
from mlc.ir.types import BOOL as bool_
from mlc.ir.types import F16 as float16
from mlc.ir.types import F32 as float32
from mlc.ir.types import F64 as float64
from mlc.ir.types import I8 as int8
from mlc.ir.types import I16 as int16
from mlc.ir.types import I32 as int32
from mlc.ir.types import I64 as int64
from mlc.ir.types import U8 as uint8
from mlc.ir.types import U16 as uint16
from mlc.ir.types import U32 as uint32
from mlc.ir.types import U64 as uint64
from mlc.tracing.value import Value as ndarray

from .arithmetic import (
    abs,
    add,
    clip,
    divide,
    floor_divide,
    maximum,
    minimum,
    multiply,
    negative,
    positive,
    pow,
    reciprocal,
    remainder,
    sign,
    square,
    subtract,
)
from .arranging import broadcast_arrays, flip, meshgrid, repeat, roll, tile, unstack
from .bits import copysign, nextafter, signbit
from .comparison import (
    bitwise_and,
    bitwise_invert,
    bitwise_left_shift,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
    equal,
    greater,
    greater_equal,
    isfinite,
    isinf,
    isnan,
    less,
    less_equal,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    not_equal,
    where,
)
from .creation import (
    arange,
    array,
    asarray,
    empty,
    empty_like,
    eye,
    from_dlpack,
    full,
    full_like,
    linspace,
    ones,
    ones_like,
    tril,
    triu,
    zeros,
    zeros_like,
)  # fmt: skip
from .cumulative import cumulative_prod, cumulative_sum
from .einsum import einsum
from .elementary import acos, acosh, asin, asinh, atan, atan2, atanh, cosh, hypot, logaddexp, sinh
from .indexing import getitem
from .inspection import __array_namespace_info__, can_cast, finfo, iinfo, isdtype, result_type
from .linear import matmul, outer, tensordot, vecdot
from .lookup import diff, isin, nonzero, searchsorted, take, take_along_axis
from .manipulation import (
    broadcast_to,
    concat,
    concatenate,
    expand_dims,
    matrix_transpose,
    moveaxis,
    permute_dims,
    ravel,
    reshape,
    split,
    squeeze,
    stack,
    swapaxes,
    transpose,
)  # fmt: skip
from .padding import pad
from .promotion import promote_types
from .real import (
    astype,
    ceil,
    cos,
    erf,
    exp,
    expm1,
    floor,
    log,
    log1p,
    log2,
    log10,
    round,
    rsqrt,
    sigmoid,
    sin,
    sqrt,
    tan,
    tanh,
    trunc,
)  # fmt: skip
from .reductions import all, any, argmax, argmin, count_nonzero, max, mean, min, prod, std, sum, var
from .sorting import argsort, sort, unique_all, unique_counts, unique_inverse, unique_values
from .updating import Updates

newaxis = None
power = pow
absolute = abs
true_divide = divide
mod = remainder
bool = bool_
__array_api_version__ = "2024.12"

__all__ = [
    "Updates", "__array_api_version__", "__array_namespace_info__", "abs", "absolute", "acos", "acosh", "add", "all",
    "any", "arange", "argmax", "argmin", "argsort", "array", "asarray", "asin", "asinh", "astype", "atan", "atan2",
    "atanh", "bfloat16", "bitwise_and", "bitwise_invert", "bitwise_left_shift", "bitwise_or", "bitwise_right_shift",
    "bitwise_xor", "bool", "bool_", "broadcast_arrays", "broadcast_to", "can_cast", "ceil", "clip", "concat",
    "concatenate", "copysign", "cos", "cosh", "count_nonzero", "cumulative_prod", "cumulative_sum", "diff", "divide",
    "e", "einsum", "empty", "empty_like", "equal", "erf", "exp", "expand_dims", "expm1", "eye", "finfo", "flip",
    "float16", "float32", "float64", "floor", "floor_divide", "from_dlpack", "full", "full_like", "getitem",
    "greater", "greater_equal", "hypot", "iinfo", "inf", "int16", "int32", "int64", "int8", "isdtype", "isfinite",
    "isin", "isinf", "isnan", "less", "less_equal", "linspace", "log", "log10", "log1p", "log2", "logaddexp",
    "logical_and", "logical_not", "logical_or", "logical_xor", "matmul", "matrix_transpose", "max", "maximum", "mean",
    "meshgrid", "min", "minimum", "mod", "moveaxis", "multiply", "nan", "ndarray", "negative", "newaxis", "nextafter",
    "nonzero", "not_equal", "ones", "ones_like", "outer", "pad", "permute_dims", "pi", "positive", "pow", "power",
    "prod", "promote_types", "ravel", "reciprocal", "remainder", "repeat", "reshape", "result_type", "roll", "round",
    "rsqrt", "searchsorted", "sigmoid", "sign", "signbit", "sin", "sinh", "sort", "split", "sqrt", "square",
    "squeeze", "stack", "std", "subtract", "sum", "swapaxes", "take", "take_along_axis", "tan", "tanh", "tensordot",
    "tile", "transpose", "tril", "triu", "true_divide", "trunc", "uint16", "uint32", "uint64", "uint8", "unique_all",
    "unique_counts", "unique_inverse", "unique_values", "unstack", "var", "vecdot", "where", "zeros", "zeros_like",
]  # fmt: skip
