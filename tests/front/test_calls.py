"""Calls of compiled functions and of arrays as users make them: errors and notices name the user's line."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.errors import ArgumentError, DeletedError, DTypeError, Notice, TracerError

HERE = Path(__file__).name
add = mlc.jit(lambda p, q: p + q, donate_argnames="p")


def test_a_value_leaked_into_a_compiled_call_is_named() -> None:
    kept: list[Any] = []
    function = mlc.jit(lambda x: kept.append(x) or x * 2)
    function(mnp.ones(2))
    for f in (function, mlc.jit(lambda x: x + 1)):  # compiled before, and not
        with pytest.raises(TracerError, match=r"a traced f32.2. was used outside of its trace") as error:
            f(kept[0])
        assert HERE in str(error.value).splitlines()[0]


def test_a_donated_array_that_is_used_names_the_line() -> None:
    x = mnp.ones(1000)
    add(x, 1.0)
    with pytest.raises(DeletedError, match=f"{HERE}:[0-9]+: add.x, 2.0."):
        add(x, 2.0)


def test_notices_are_at_the_users_line() -> None:
    x = mnp.ones(1000)
    view = np.asarray(x)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        add(x, 1.0)
        mlc.jit(lambda x: x * 2)(np.ones(3))
    assert [(w.category, Path(w.filename).name) for w in caught] == [(Notice, HERE)] * 2
    assert "input p is donated, but is copied" in str(caught[0].message) and view[0] == 1.0


def test_only_functions_are_compiled() -> None:
    with pytest.raises(ArgumentError, match=r"jit: 3 is not a function"):
        mlc.jit(3)  # type: ignore[arg-type]


def test_arrays_format_as_their_number() -> None:
    assert f"{mnp.asarray(1.5):.3f} {mnp.asarray(3):4d}" == "1.500    3"
    assert f"{mnp.ones(2)}" == "Array([1., 1.], dtype=f32)"
    with pytest.raises(TypeError, match=r"f32\[2\]"):
        format(mnp.ones(2), ".3f")


def test_arrays_cannot_be_assigned_to() -> None:
    with pytest.raises(ArgumentError, match=r"setitem: .*\n?.*hint: x = x.at"):
        mnp.ones(2)[0] = 1


@pytest.mark.parametrize("data", [[300.7, -5.0, np.nan], np.array([300.7, -5.0, np.nan], np.float32)])
def test_data_converted_on_the_way_in_saturates_as_astype_does(data: Any) -> None:
    want = mnp.asarray(data).astype("u8").tolist()
    assert want == [255, 0, 0]
    assert mnp.asarray(data, "u8").tolist() == want
    assert mlc.jit(lambda: mnp.asarray(data, "u8"))().tolist() == want


def test_data_that_is_no_array_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"asarray: list .* is no array of numbers"):
        mnp.asarray([[1], [2, 3]])
    with pytest.raises(DTypeError, match=r"does not fit in i64"):
        mlc.jit(lambda x: x)(2**70)
    with pytest.raises(ArgumentError, match=r"sum: axis 1.5 is no integer"):
        mnp.sum(mnp.ones((2, 2)), axis=1.5)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"sum: got an unexpected keyword argument 'axes'"):
        mnp.sum(mnp.ones(2), axes=0)  # type: ignore[call-arg]


def test_numpy_memory_of_the_other_byte_order_is_converted() -> None:
    other = np.arange(6, dtype=np.dtype(np.float32).newbyteorder()).reshape(2, 3)
    double = mlc.jit(lambda x: x * 2)
    assert double(other).tolist() == double(other.astype(np.float32)).tolist() == [[0, 2, 4], [6, 8, 10]]
