"""Random numbers: the words of JAX 0.10 (threefry2x32, partitionable), and distributions."""

from __future__ import annotations

from math import erf
from typing import Any

import numpy as np
import pytest

import mlc
from mlc import random
from mlc.errors import ArgumentError, DTypeError
from mlc.tracing import Tracer, as_tracer, trace

from .harness import run

KEY = np.array([0, 42], np.uint32)  # jax.random.key(42)


def _hex(*numbers: str) -> np.ndarray[Any, Any]:
    return np.array([float.fromhex(n) for n in numbers])


def test_keys_are_the_halves_of_the_seed() -> None:
    for seed, want in ((42, [0, 42]), (-1, [2**32 - 1, 2**32 - 1]), (2**40 + 5, [256, 5])):
        assert run(lambda s: random.key(s), seed).tolist() == want
        assert run(lambda: random.key(seed)).tolist() == want  # noqa: B023


def test_split_and_fold_in() -> None:
    want = [[1832780943, 270669613], [64467757, 2916123636], [2465931498, 255383827]]
    assert run(lambda k: random.split(k, 3), KEY).tolist() == want
    assert run(lambda k: random.split(k), KEY).tolist() == want[:2]
    assert run(lambda k: random.split(k, (3, 1)), KEY).tolist() == [[row] for row in want]
    assert run(lambda k: random.fold_in(k, 7), KEY).tolist() == [2547012911, 1371500959]
    assert run(random.fold_in, KEY, 4000000000).tolist() == [4151844817, 2174040936]


def test_bits() -> None:
    assert run(lambda k: random.bits(k, (5,)), KEY).tolist() == [
        2098992034,
        2919706841,
        2646866425,
        2409546199,
        1935504149,
    ]
    assert run(lambda k: random.bits(k, (2,), "u16"), KEY).tolist() == [5026, 12505]
    assert run(lambda k: random.bits(k, (4,), "u8"), KEY).tolist() == [162, 217, 249, 215]
    want = [7871734211187709741, 276886910877598708, 10591095138341673235]
    assert run(lambda k: random.bits(k, (3,), "u64"), KEY).tolist() == want


@pytest.mark.parametrize(("dtype", "want"), [
    ("f32", _hex("0x1.f47048p-2", "0x1.5c0e6p-1", "0x1.3b87fp-1", "0x1.1f3d8p-1")),
    ("f64", _hex("0x1.b4f8123c40884p-2", "0x1.ebd996d6e8400p-7", "0x1.25f641d41e71ap-1")),
    ("bf16", _hex("0x1.44p-1", "0x1.bp-1", "0x1.fp-1")),
    ("f16", _hex("0x1.38p-4", "0x1.86p-3", "0x1.f38p-1")),
])  # fmt: skip
def test_uniform_has_the_bits_of_jax(dtype: str, want: np.ndarray[Any, Any]) -> None:
    got = run(lambda k: random.uniform(k, want.shape, dtype), KEY)
    np.testing.assert_array_equal(got.astype(np.float64), want)


def test_uniform_between_bounds() -> None:
    # XLA fuses the scaling into one rounding: within one unit in the last place of -2 + 5 u
    want = _hex("0x1.c63168p-2", "0x1.6623fp+0", "0x1.14d3d8p+0", "0x1.9c338p-1")
    got = run(lambda k: random.uniform(k, (4,), "f32", -2.0, 3.0), KEY)
    np.testing.assert_allclose(got, want, rtol=0, atol=3e-7)
    np.testing.assert_array_equal(got, run(lambda k, a, b: random.uniform(k, (4,), "f32", a, b), KEY, -2.0, 3.0))
    many = run(lambda k: random.uniform(k, (20000,), "f32", 1.0, 1.0000001), KEY)
    assert many.min() >= 1.0


@pytest.mark.parametrize(("dtype", "want", "rtol"), [
    ("f32", _hex("-0x1.cfbe2ap-6", "0x1.de57dp-2", "0x1.2eccc2p-2", "0x1.3a7648p-3", "-0x1.fc09d6p-4", "0x1.bc4234p-3"),
     2.5e-7),
    ("f64", _hex("-0x1.7a4a26c962159p-3", "-0x1.15bccfaa7ba3ap+1", "0x1.7ed8110b50460p-3"), 1e-15),
    ("bf16", _hex("0x1.6p-2", "0x1.04p+0", "0x1.e4p+0"), 4e-3),
])  # fmt: skip
def test_normal(dtype: str, want: np.ndarray[Any, Any], rtol: float) -> None:
    got = run(lambda k: random.normal(k, want.shape, dtype), KEY)
    np.testing.assert_allclose(got.astype(np.float64), want, rtol=rtol)


def test_truncated_normal() -> None:
    want = _hex("-0x1.baa368p-6", "0x1.c70bc4p-2", "0x1.20a462p-2")
    np.testing.assert_allclose(run(lambda k: random.truncated_normal(k, -2, 2, (3,)), KEY), want, rtol=2e-6)
    many = run(lambda k: random.truncated_normal(k, -1, 0.5, (5000,)), KEY)
    assert -1 < many.min() < -0.99 and 0.49 < many.max() < 0.5


def test_normal_has_the_moments_of_one() -> None:
    many = run(lambda k: random.normal(k, (200, 100)), KEY).astype(np.float64)
    n = many.size
    assert abs(many.mean()) < 4 / np.sqrt(n)
    assert abs(many.var() - 1) < 4 * np.sqrt(2 / n)
    assert abs((many**4).mean() - 3) < 4 * np.sqrt(96 / n)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_erf_inv_is_the_inverse_of_erf(dtype: type[np.floating[Any]]) -> None:
    unit = float(np.finfo(dtype).eps)
    tails = 1 - np.logspace(-1, -6 if dtype == np.float32 else -15, 40)
    x = np.concatenate([np.linspace(-0.999, 0.999, 101), tails, -tails]).astype(dtype)
    got = run(lambda v: random.erf_inv(as_tracer(v)), x).astype(np.float64)
    back = np.vectorize(erf)(got)
    # the error of the inverse, through the slope of erf there
    slope = 2 / np.sqrt(np.pi) * np.exp(-got * got)
    relative = unit * (
        8 + 1 / (1 - np.abs(x.astype(np.float64)))
    )  # x * x is rounded, and 1 - x * x is small in the tails
    assert (np.abs(back - x.astype(np.float64)) <= slope * np.abs(got) * relative + 2e-16).all()
    assert run(lambda v: random.erf_inv(as_tracer(v)), np.array([1, -1], dtype)).tolist() == [np.inf, -np.inf]


def test_bernoulli_and_randint() -> None:
    assert run(lambda k: random.bernoulli(k, 0.3, (12,)), KEY).tolist() == [i == 6 for i in range(12)]
    many = run(lambda k, p: random.bernoulli(k, p, (1000, 2)), KEY, np.float32([0.1, 0.9]))
    assert (abs(many.mean(0) - [0.1, 0.9]) < 0.04).all()
    assert run(lambda k: random.randint(k, (6,), -5, 100, "i32"), KEY).tolist() == [94, 49, 76, -1, 84, 19]
    assert run(lambda k: random.randint(k, (6,), 0, 10, "u32"), KEY).tolist() == [4, 4, 1, 9, 9, 9]
    assert run(lambda k: random.randint(k, (4,), -5, 100), KEY).tolist() == [85, 53, 88, 56]
    want = [1035216336437, 739902740158, 138006711447, 1022492192815]
    assert run(lambda k: random.randint(k, (4,), 0, 2**40), KEY).tolist() == want
    assert run(lambda k: random.randint(k, (3,), 5, 5), KEY).tolist() == [5, 5, 5]


def test_initialisers_have_the_numbers_of_jax() -> None:
    cases = {
        "he_normal": _hex("-0x1.63d32p-6", "0x1.6dcc82p-2", "0x1.d01016p-3"),
        "glorot_uniform": _hex("-0x1.56855ap-6", "0x1.54e8e6p-2", "0x1.b8eb86p-3"),
    }
    for name, want in cases.items():
        got = run(lambda k: getattr(mlc.nn.init, name)()(k, (4, 3)), KEY)  # noqa: B023
        np.testing.assert_allclose(got[0], want, rtol=2e-6)
    fans = {"he_normal": 2 / 300, "lecun_uniform": 1 / 300, "glorot_normal": 2 / 500, "he_uniform": 2 / 300}
    for name, variance in fans.items():
        got = run(lambda k: getattr(mlc.nn.init, name)()(k, (300, 200)), KEY)  # noqa: B023
        assert abs(got.var() / variance - 1) < 0.03
    with pytest.raises(ArgumentError, match="less than two axes"):
        trace(lambda: mlc.nn.init.he_normal()(KEY, (3,)))


def test_what_is_no_key_and_no_float_is_refused() -> None:
    with pytest.raises(DTypeError, match=r"the key is i64\[\], not u32\[2\]"):
        trace(lambda: random.normal(0, (2,)))
    with pytest.raises(DTypeError, match="uniform: dtype is i32"):
        trace(lambda: random.uniform(KEY, (2,), "i32"))
    with pytest.raises(DTypeError, match="the seed is f32"):
        trace(lambda: random.key(1.5))
    with pytest.raises(ArgumentError, match="more than 64 bits"):
        trace(lambda: random.key(2**64))


def test_numbers_depend_on_key_and_place_alone() -> None:
    def f(k: Tracer) -> Any:
        return random.uniform(k, (100,)), random.uniform(k, (10, 10)), random.uniform(random.split(k)[0], (100,))

    flat, square, other = run(f, KEY)
    np.testing.assert_array_equal(flat, square.ravel())
    assert len(np.intersect1d(flat, other)) == 0
