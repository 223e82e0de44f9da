"""Checkpoints come back with their bits, whole or not at all, and are never taken for another program's."""

from __future__ import annotations

import doctest
import importlib
import os
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

import mlc
import mlc.numpy as mnp
from mlc.errors import ArgumentError, DataError, Notice
from mlc.ir.types import DTYPES
from mlc.train import Checkpoints, fingerprint


def tree(scale: float = 1.0) -> dict[str, Any]:
    """Parameters, an optimizer's state, a key, and the position in the data."""
    params = {
        "dense": {
            "w": mnp.asarray(np.arange(6, dtype=np.float32).reshape(2, 3) * np.float32(scale)),
            "b": mnp.zeros(0),
        },
        "scale": mnp.ones(()),
    }
    return {
        "params": params,
        "state": mlc.optim.adam(1e-3).init(params),
        "key": mlc.random.key(7),
        "position": 17,
        "best": float("nan"),
        "rows": np.arange(3),
    }


def test_what_comes_back(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "new" / "folder")
    given = tree()
    assert checkpoints.restore(given) == (0, given) and checkpoints.steps() == []
    checkpoints.save(12, tree(3))
    step, found = checkpoints.restore(tree())
    assert step == 12 and fingerprint(found) == fingerprint(tree(3)) != fingerprint(tree())
    assert mlc.tree.structure(found) == mlc.tree.structure(tree())
    kinds = [type(leaf) for leaf in mlc.tree.leaves(tree())]
    assert [type(leaf) for leaf in mlc.tree.leaves(found)] == kinds and {int, float, np.ndarray, mlc.Array} <= {*kinds}


@pytest.mark.parametrize("name", sorted(DTYPES))
def test_every_element_type(name: str, tmp_path: Path) -> None:
    array = np.arange(-2, 3).astype(DTYPES[name].numpy)
    Checkpoints(tmp_path).save(1, [array])
    assert fingerprint(Checkpoints(tmp_path).restore([np.zeros_like(array)])[1]) == fingerprint([array])


def test_others_read_the_file(tmp_path: Path) -> None:
    Checkpoints(tmp_path).save(5, {"params": tree()["params"]})
    (path,) = tmp_path.iterdir()
    assert path.name == "step-00000005.safetensors"
    theirs = safetensors.numpy.load_file(path)
    assert theirs["['params']['dense']['w']"].tolist() == [[0, 1, 2], [3, 4, 5]] and len(theirs) == 3


def test_the_last_ones_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    (tmp_path / "notes.txt").touch()
    for step in (5, 100_000_000, 20):
        checkpoints.save(step, {"step": step})
    assert checkpoints.steps() == [100_000_000, 20] and (tmp_path / "notes.txt").exists()
    assert checkpoints.restore({"step": 0}) == (100_000_000, {"step": 100_000_000})


def damaged(content: bytes) -> dict[str, bytes]:
    middle = len(content) - 9
    return {
        "empty": b"",
        "cut": content[: len(content) // 2],
        "a bit in the data": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "header": content[:8] + b"{" * 20 + content[28:],
        "another step": content.replace(b'"step":"2"', b'"step":"9"'),
        "more behind it": content + b"\0",
        "no digest": content.replace(b'"sha256"', b'"sha257"'),
        "short digest": re.sub(rb'"sha256":"\w{60}', b'"sha256":"', content),
        "huge header": b"\xff" * 8 + content[8:],
        "another file": safetensors.numpy.save({"step": np.zeros(())}),
    }


@pytest.mark.parametrize("how", sorted(damaged(b"0" * 100)))
def test_damage_is_skipped_with_a_notice(how: str, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"w": np.arange(40.0)})
    checkpoints.save(2, {"w": np.arange(40.0) + 1})
    last = tmp_path / "step-00000002.safetensors"
    last.write_bytes(damaged(last.read_bytes())[how])
    with pytest.warns(Notice, match=r"step-00000002\.safetensors is skipped"):
        step, found = checkpoints.restore({"w": np.zeros(40)})
    assert step == 1 and found["w"].tolist() == list(range(40))


def test_all_damaged_is_a_start_from_nothing(tmp_path: Path) -> None:
    (tmp_path / "step-00000002.safetensors").write_bytes(b"nothing")
    with pytest.warns(Notice):
        assert Checkpoints(tmp_path).restore([1.5]) == (0, [1.5])


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"w": np.zeros(3), "b": np.zeros(1)}, r"only the program has \"\['b'\]\""),
        ({}, r"only the checkpoint has \"\['w'\]\""),
        ({"w": np.zeros(4)}, r"is float64\[3\], the program's is float64\[4\]"),
        ({"w": np.zeros(3, np.float32)}, r"is float64\[3\], the program's is float32\[3\]"),
        ({"w": np.zeros(3, ml_dtypes.bfloat16)}, "bfloat16"),
    ],
)
def test_a_checkpoint_of_something_else_is_an_error(other: Any, words: str, tmp_path: Path) -> None:
    Checkpoints(tmp_path).save(1, {"w": np.zeros(3)})
    with pytest.raises(DataError, match=words):
        Checkpoints(tmp_path).restore(other)


def test_no_folder_keeps_nothing() -> None:
    checkpoints = Checkpoints(None)
    checkpoints.save(1, tree())
    given = tree()
    assert checkpoints.restore(given) == (0, given) and checkpoints.steps() == []


def test_refusals(tmp_path: Path) -> None:
    for keep in (0, -1):
        with pytest.raises(ArgumentError, match="at least one"):
            Checkpoints(tmp_path, keep=keep)
    with pytest.raises(ArgumentError, match="negative"):
        Checkpoints(tmp_path).save(-1, [])
    with pytest.raises(ArgumentError, match=r"\['f'\] is a builtin_function_or_method"):
        Checkpoints(tmp_path).save(1, {"f": len})
    for step in (1.5, "1", None):
        with pytest.raises(ArgumentError, match=f"step {step!r} is no integer"):
            Checkpoints(tmp_path).save(step, [])  # type: ignore[arg-type]
    for leaf in (np.zeros(2, complex), np.array(["a"]), 1 << 70):
        with pytest.raises(ArgumentError, match=r"\['w'\]: .* is no element type of mlc"):
            Checkpoints(tmp_path).save(1, {"w": leaf})
    assert not list(tmp_path.iterdir())


KILLED = """
import os, signal, sys
import numpy as np
from mlc.train import Checkpoints

checkpoints = Checkpoints(sys.argv[1], keep=1)
checkpoints.save(1, {"w": np.zeros(1000)})
where = sys.argv[2]
before = getattr(os, where)
setattr(os, where, lambda *words: os.kill(os.getpid(), signal.SIGKILL))
checkpoints.save(2, {"w": np.ones(1000)})
"""


@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_killed_in_the_middle_of_writing(where: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path), where]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    checkpoints = Checkpoints(tmp_path, keep=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step, found = checkpoints.restore({"w": np.full(1000, 5.0)})
    assert step == 1 and not found["w"].any()
    checkpoints.save(3, {"w": np.ones(1000)})
    assert os.listdir(tmp_path) == ["step-00000003.safetensors"]  # what the killed one began is gone, too


def test_what_another_job_is_writing_is_left_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two jobs share a folder by mistake: neither fails for the other."""
    replace, other = os.replace, Checkpoints(tmp_path)

    def meanwhile(*paths: Any) -> None:
        monkeypatch.setattr(os, "replace", replace)
        monkeypatch.setattr(os, "getpid", lambda: 1)
        other.save(1, {"w": np.zeros(3)})
        replace(*paths)

    monkeypatch.setattr(os, "replace", meanwhile)
    Checkpoints(tmp_path).save(2, {"w": np.ones(3)})
    assert Checkpoints(tmp_path).steps() == [2, 1]
    assert len(os.listdir(tmp_path)) == 2


@pytest.mark.parametrize("array", [np.asfortranarray(np.eye(3)[:2]), np.arange(5.0)[::-2], np.arange(3, dtype=">f4")])
def test_arrays_of_any_order_of_elements_and_bytes(array: Any, tmp_path: Path) -> None:
    Checkpoints(tmp_path).save(1, {"w": array})
    np.testing.assert_array_equal(Checkpoints(tmp_path).restore({"w": array})[1]["w"], array)


def test_a_fingerprint_sees_every_bit() -> None:
    base = {"a": np.zeros(3, np.float32), "b": (np.zeros((2, 2)), 1)}
    others = [
        {"a": np.zeros(3, np.int32), "b": (np.zeros((2, 2)), 1)},
        {"a": np.zeros(3, np.float32), "b": (np.zeros((4,)), 1)},
        {"a": np.zeros(3, np.float32), "b": (np.zeros((2, 2)), 2)},
        {"a": -np.zeros(3, np.float32), "b": (np.zeros((2, 2)), 1)},
        {"c": np.zeros(3, np.float32), "b": (np.zeros((2, 2)), 1)},
    ]
    assert len({fingerprint(t) for t in (base, *others)}) == len(others) + 1
    assert fingerprint(mlc.tree.map(mnp.asarray, base)) == fingerprint(base)
    assert fingerprint([np.asfortranarray([[1, 2], [3, 4]])]) == fingerprint([np.array([[1, 2], [3, 4]])])


@pytest.mark.parametrize("name", ["checkpoints", "fingerprints", "progressing"])
def test_the_examples(name: str) -> None:
    done = doctest.testmod(importlib.import_module(f"mlc.train.{name}"))
    assert done.attempted and not done.failed
