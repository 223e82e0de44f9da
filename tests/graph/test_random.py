"""rng_bit_generator gives JAX's bits: words written down from jax 0.10 (threefry2x32, partitionable)."""

from __future__ import annotations

import numpy as np
import pytest

from mlc.ir import graph as g
from mlc.ir.graph import evaluate_graph, random
from mlc.ir.types import U32, U64, DType, TensorType

from .support import graph_of

KEY = np.array([17, 4242424242], np.uint32)
WORDS32 = [
    0xC208CD49,
    0xB0B0F01C,
    0xDA735824,
    0x8EF0E6B0,
    0x5982D8AF,
    0xBEBDBB95,
]  # jax.random.bits(key, (n,), "uint32")
WORDS64 = [0x17AE21F2D5A6ECBB, 0x439C1399F32CE385, 0xFEE0D07224938856]  # jax.random.bits(key, (n,), "uint64")
SPLIT0 = [0x17AE21F2, 0xD5A6ECBB]  # jax.random.split(key, 2)[0]


@pytest.mark.parametrize("dtype, words", [(U32, WORDS32), (U64, WORDS64)], ids=str)
@pytest.mark.parametrize("shape", [(), (1,), (3,), (1, 3), (0,), (2, 0)], ids=str)
def test_bits_are_jaxs(dtype: DType, words: list[int], shape: tuple[int, ...]) -> None:
    graph = graph_of(g.RNG_BIT_GENERATOR, [TensorType((2,), U32)], shape=shape, dtype=dtype, algorithm="THREE_FRY")
    key, bits = evaluate_graph(graph, [KEY])
    count = int(np.prod(shape, dtype=int))
    np.testing.assert_array_equal(bits, np.array(words[:count], dtype.numpy).reshape(shape))
    np.testing.assert_array_equal(key, np.array(SPLIT0, np.uint32))


def test_elements_are_numbered_over_the_whole_shape() -> None:
    graph = graph_of(g.RNG_BIT_GENERATOR, [TensorType((2,), U32)], shape=(2, 3), dtype=U32, algorithm="THREE_FRY")
    np.testing.assert_array_equal(evaluate_graph(graph, [KEY])[1], np.array(WORDS32, np.uint32).reshape(2, 3))


@pytest.mark.parametrize("dtype, words", [(U32, WORDS32), (U64, WORDS64)], ids=str)
def test_a_state_counts_on(dtype: DType, words: list[int]) -> None:
    """StableHLO's state: a key and the counter of the first element; the next call goes on where this one ends."""
    state, found = np.array([(17 << 32) + 4242424242, 0], np.uint64), list[int]()
    for shape in ((1,), (), (0,), (1, len(words) - 2)):
        graph = graph_of(g.RNG_BIT_GENERATOR, [TensorType((2,), U64)], shape=shape, dtype=dtype, algorithm="THREE_FRY")
        state, bits = evaluate_graph(graph, [state])
        found += bits.reshape(-1).tolist()
    assert found == words and state.tolist() == [(17 << 32) + 4242424242, len(words)]


def test_a_counter_wraps() -> None:
    graph = graph_of(g.RNG_BIT_GENERATOR, [TensorType((2,), U64)], shape=(2,), dtype=U64, algorithm="THREE_FRY")
    state, bits = evaluate_graph(graph, [np.array([5, 2**64 - 1], np.uint64)])
    assert state.tolist() == [5, 1]
    assert bits[1] == evaluate_graph(graph, [np.array([5, 0], np.uint64)])[1][0]


def test_known_answers_of_the_paper() -> None:
    """Threefry-2x32 with 20 rounds, from the kat_vectors of Random123."""
    ones, zero = np.array([0xFFFFFFFF], np.uint32), np.zeros(1, np.uint32)
    pi = [np.array([w], np.uint32) for w in (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)]
    for counter, key, want in (
        ((zero, zero), (zero, zero), (0x6B200159, 0x99BA4EFE)),
        ((ones, ones), (ones, ones), (0x1CB996FC, 0xBB002BE7)),
        ((pi[0], pi[1]), (pi[2], pi[3]), (0xC4923A9C, 0x483DF7A0)),
    ):
        high, low = random.threefry(np.concatenate(key), *counter)
        assert (int(high[0]), int(low[0])) == want
