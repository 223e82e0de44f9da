"""The carried digits, MNIST's file format, and minibatches."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mlc.data
from mlc.data.idx import read_idx
from mlc.errors import ArgumentError, DataError


def test_digits_are_split_by_class() -> None:
    data = mlc.data.digits()
    assert (data.name, data.features, data.classes) == ("digits", 64, 10)
    for images, labels in ((data.train_images, data.train_labels), (data.test_images, data.test_labels)):
        assert images.dtype == np.float32 and labels.dtype == np.int32
        assert images.shape == (len(labels), 64)
        assert images.min() == 0 and images.max() == 1
    train, test = np.bincount(data.train_labels), np.bincount(data.test_labels)
    np.testing.assert_array_equal(train + test, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180])  # UCI's counts
    assert (test == (train + test) // 5).all()
    assert np.array_equal(data.test_images, mlc.data.digits().test_images)


def test_digits_are_scikit_learns() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    want = datasets.load_digits()
    data = mlc.data.digits()
    both = np.concatenate([data.train_images, data.test_images]) * 16
    key = [tuple(row) for row in both.astype(int)]
    assert sorted(key) == sorted(tuple(row) for row in want.data.astype(int))
    label = dict(zip((tuple(r) for r in want.data.astype(int)), want.target, strict=True))
    assert [label[k] for k in key] == [*data.train_labels, *data.test_labels]


def test_a_nearest_neighbour_knows_the_digits() -> None:
    """Labels belong to their images: 1-NN reaches 98-99% on this set (Alpaydin and Kaynak)."""
    data = mlc.data.digits()
    distances = ((data.test_images[:, None] - data.train_images[None]) ** 2).sum(-1)
    assert (data.train_labels[distances.argmin(1)] == data.test_labels).mean() > 0.98


def test_batches_are_permutations() -> None:
    x, y = np.arange(10) * 2.0, np.arange(10)
    seen = list(mlc.data.batches((x, y), 5, seed=3, epochs=3))
    assert [b[0].shape for b in seen] == [(5,)] * 6
    orders = [np.concatenate([b[1] for b in seen[i : i + 2]]) for i in (0, 2, 4)]
    assert all(sorted(o) == list(range(10)) for o in orders)
    assert len({tuple(o) for o in orders}) == 3
    assert all((a == 2 * b).all() for a, b in seen)
    again = list(mlc.data.batches((x, y), 5, seed=3, epochs=3))
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(seen, again, strict=True))
    other = next(iter(mlc.data.batches((x, y), 5, seed=4)))
    assert not np.array_equal(other[1], seen[0][1])


def test_batches_drop_or_keep_the_rest() -> None:
    x = np.arange(7)
    assert [len(b) for (b,) in mlc.data.batches((x,), 3)] == [3, 3]
    assert [len(b) for (b,) in mlc.data.batches((x,), 3, keep_last=True)] == [3, 3, 1]
    forever = mlc.data.batches((x,), 3, epochs=None)
    assert len([next(forever) for _ in range(50)]) == 50


@pytest.mark.parametrize(("rows", "batch"), [((4, 5), 2), ((), 2), ((3,), 4), ((3,), 0)])
def test_batches_refuse(rows: tuple[int, ...], batch: int) -> None:
    with pytest.raises(ArgumentError):
        mlc.data.batches([np.zeros(n) for n in rows], batch)


def test_batches_go_on_where_they_were_left() -> None:
    x = np.arange(7)
    for keep_last in (False, True):
        whole = [b.tolist() for (b,) in mlc.data.batches((x,), 2, seed=3, epochs=3, keep_last=keep_last)]
        for start in range(len(whole) + 2):
            rest = mlc.data.batches((x,), 2, seed=3, epochs=3, keep_last=keep_last, start=start)
            assert [b.tolist() for (b,) in rest] == whole[start:]
    forever = mlc.data.batches((x,), 2, seed=3, epochs=None, start=7)
    assert next(forever)[0].tolist() == list(mlc.data.batches((x,), 2, seed=3, epochs=3))[7][0].tolist()


@pytest.mark.parametrize("size", [1, 2, 4])
def test_the_shards_of_a_batch_are_the_batch(size: int) -> None:
    x, y = np.arange(19) * 2.0, np.arange(19)
    whole = list(mlc.data.batches((x, y), 8, seed=1, epochs=2, start=1))
    shards = [mlc.data.batches((x, y), 8, seed=1, epochs=2, start=1, shard=(r, size)) for r in range(size)]
    for parts, batch in zip(zip(*shards, strict=True), whole, strict=True):
        for i, array in enumerate(batch):
            assert all(len(part[i]) == 8 // size for part in parts)
            assert np.concatenate([part[i] for part in parts]).tolist() == array.tolist()


def test_shards_that_cannot_be() -> None:
    x = np.zeros(13)
    for shard in ((2, 2), (-1, 2), (0, 0)):
        with pytest.raises(ArgumentError, match="a rank and a size"):
            mlc.data.batches((x,), 4, shard=shard)
    with pytest.raises(ArgumentError, match=r"6 rows cannot be cut into 4 equal parts\nhint: choose a multiple of 4"):
        mlc.data.batches((x,), 6, shard=(0, 4))
    with pytest.raises(ArgumentError, match="1 rows cannot"):
        mlc.data.batches((x,), 4, keep_last=True, shard=(0, 2))
    with pytest.raises(ArgumentError, match="start=-1"):
        mlc.data.batches((x,), 4, start=-1)


def idx(*shape: int, elements: bytes = b"", kind: int = 8) -> bytes:
    return bytes((0, 0, kind, len(shape))) + b"".join(n.to_bytes(4, "big") for n in shape) + elements


def test_idx(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(idx(2, 3, elements=bytes(range(6))))
    np.testing.assert_array_equal(read_idx(path), np.arange(6).reshape(2, 3))
    damaged = (b"", b"\0\0\x08", idx(2, 3, elements=b"12345"), idx(2, elements=b"123"), idx(1, kind=13),
               b"\0\0\x08\x03\0\0", b"\x1f\x8b" + b"0" * 30)  # fmt: skip
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(DataError, match="file"):
            read_idx(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(tmp_path / "missing")


def test_import_is_light() -> None:
    code = "import sys, mlc.data; print(any(m in sys.modules for m in ('rich', 'llvmlite', 'sklearn')))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
