"""Checkpoints of a training: files that hold a tree of arrays and the step at which it was taken.

A file is safetensors (``step-00000100.safetensors``): one tensor for each leaf, named by its path, with the step and a
digest in the metadata. The digest is that of the whole file, but for the digest itself. Files appear whole or not at
all; what a crash of the machine damaged is skipped.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import mmap
import operator
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import distributed
from .. import tree as trees
from ..array import Array
from ..errors import ArgumentError, ArtifactError, DataError, notice
from ..ir.types import dtype_of

FORMAT = "mlc checkpoint 2"
_NO_DIGEST = "0" * 64  # in the place of the digest while it is taken
_BEGUN = re.compile(r"\.step-\d+\.safetensors\.")
_NAME = re.compile(r"step-(\d+)\.safetensors")


class Checkpoints:
    """The checkpoints in ``folder``, of which the last ``keep`` are kept; a folder of None keeps none at all.

    A tree holds whatever the training goes on from: parameters, the optimizer's state, a key, the data's position
    (``start`` of `mlc.data.batches`). Its leaves are arrays and Python numbers. Of the processes of a job rank 0 writes
    and all read, from a folder that they share.

    Example:
        >>> import mlc, tempfile
        >>> checkpoints = mlc.train.Checkpoints(tempfile.mkdtemp())
        >>> params = {"w": mlc.numpy.zeros(3), "key": mlc.random.key(0)}
        >>> checkpoints.restore(params)[0]
        0
        >>> checkpoints.save(100, params)
        >>> step, params = checkpoints.restore(params)
        >>> step
        100
    """

    def __init__(self, folder: str | os.PathLike[str] | None, *, keep: int = 3) -> None:
        if keep < 1:
            raise ArgumentError(f"Checkpoints: keep is {keep}; at least one is kept")
        self.folder = None if folder is None else Path(folder)
        self.keep = keep

    def save(self, step: int, tree: Any) -> None:
        """Write ``tree`` as it is after ``step`` steps, and remove what is older than the last ``keep`` checkpoints.

        Raises ArgumentError for a step that is no number of steps and for a leaf that is no array and no number of the
        types that mlc has, OSError where the file cannot be written.
        """
        try:
            step = operator.index(step)
        except TypeError:
            raise ArgumentError(f"Checkpoints.save: step {step!r} is no integer") from None
        if step < 0:
            raise ArgumentError(f"Checkpoints.save: step {step} is negative")
        if self.folder is None or distributed.rank() != 0:
            return
        arrays = {path: _stored(path, leaf) for path, leaf in trees.flatten_with_paths(tree)[0]}
        self.folder.mkdir(parents=True, exist_ok=True)
        _write(self.folder / f"step-{step:08}.safetensors", step, arrays)
        begun = [path for path in self.folder.iterdir() if _BEGUN.match(path.name)]
        for old in (*self._paths()[self.keep :], *filter(_is_abandoned, begun)):
            old.unlink(missing_ok=True)

    def restore(self, tree: Any) -> tuple[int, Any]:
        """The step and the tree of the last checkpoint that can be read: 0 and ``tree`` itself where there is none.

        ``tree`` says what is expected: the structure, shapes and element types. Files that are damaged are skipped
        with a notice. Raises DataError for an intact one of something else, and where ranks find different ones.
        """
        step, found = 0, tree
        for path in self._paths():
            try:
                step, arrays = _read(path)
            except (ArtifactError, OSError) as error:
                notice(f"checkpoint {path} is skipped: {error}")
                continue
            found = _like(tree, arrays, path)
            break
        self._agree(step)
        return step, found

    def steps(self) -> list[int]:
        """The steps of all checkpoints, the last one first; whether they can be read is not looked at."""
        return [int(_NAME.fullmatch(path.name)[1]) for path in self._paths()]  # type: ignore[index]

    def _paths(self) -> list[Path]:
        """The files, the last one first."""
        if self.folder is None or not self.folder.is_dir():
            return []
        found = [(int(name[1]), path) for path in self.folder.iterdir() if (name := _NAME.fullmatch(path.name))]
        return [path for _, path in sorted(found, reverse=True)]

    def _agree(self, step: int) -> None:
        """DataError unless all ranks have found the checkpoint of this step."""
        if self.folder is None or distributed.size() == 1:
            return
        low, high = (int(distributed.all_reduce(np.int64(step), op)) for op in ("min", "max"))
        if low != high:
            raise DataError(
                f"checkpoints: rank {distributed.rank()} finds step {step} in {self.folder}, others {low} to {high}",
                hint="the folder must be on a file system that all ranks share",
            )


def _write(path: Path, step: int, arrays: dict[str, npt.NDArray[Any]]) -> None:
    """The file in one go: written beside its place, on the disk before it is named, and its name, too."""
    from ..artifact.weights import Weight, write_safetensors

    written = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with written.open("w+b") as file:
            with contextlib.suppress(OSError):  # some file systems have no locks
                fcntl.flock(file, fcntl.LOCK_EX)
            weights = [Weight(name, array) for name, array in arrays.items()]
            write_safetensors(weights, file, {"checkpoint": FORMAT, "step": str(step), "sha256": _NO_DIGEST})
            file.flush()
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole, memoryview(whole) as data:
                place, found = _digest(data, _NO_DIGEST)
            file.seek(place)
            file.write(found.encode())
            file.flush()
            os.fsync(file.fileno())
            written.replace(path)  # while it is locked
    except BaseException:
        written.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _is_abandoned(path: Path) -> bool:
    """Whether nobody writes this file any more: who began it was killed. Another job may write to the folder now."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        os.close(file)
    return True


def _read(path: Path) -> tuple[int, dict[str, npt.NDArray[Any]]]:
    """The step and the arrays of a file. Raises ArtifactError where it is not what was written."""
    from ..artifact.weights import read_all, read_metadata

    data = memoryview(path.read_bytes())
    told, arrays = read_metadata(data), read_all(data)
    if told.get("checkpoint") != FORMAT or not told.get("step", "").isdecimal():
        raise ArtifactError(f"it does not say that it is {FORMAT!r}")
    digest = told.get("sha256", "")
    if digest != _digest(data, digest)[1]:
        raise ArtifactError("it is not what was written: the digest differs")
    return int(told["step"]), arrays


def _digest(data: memoryview, told: str) -> tuple[int, str]:
    """Where in a file that tells the digest ``told`` that stands, and SHA-256 of the file with `_NO_DIGEST` there."""
    header = bytes(data[: 8 + int.from_bytes(data[:8], "little")])
    key = b'"sha256":"'  # quotes within a name are escaped
    place = header.find(key + told.encode() + b'"') + len(key)
    if place < len(key) or len(told) != len(_NO_DIGEST):
        raise ArtifactError("it tells no digest")
    state = hashlib.sha256(data[:place])
    state.update(_NO_DIGEST.encode())
    state.update(data[place + len(told) :])
    return place, state.hexdigest()


def _stored(path: str, leaf: Any) -> npt.NDArray[Any]:
    """A leaf as the array that is written."""
    if not isinstance(leaf, (Array, np.ndarray, np.generic, bool, int, float)):
        raise ArgumentError(f"checkpoints: {path or 'the tree'} is a {type(leaf).__name__}, no array and no number")
    array = np.asarray(leaf)
    try:
        return array.astype(dtype_of(array.dtype).numpy, copy=False)  # in this machine's order of bytes
    except TypeError as error:
        raise ArgumentError(f"checkpoints: {path or 'the tree'}: {error}") from None


def _like(tree: Any, arrays: dict[str, npt.NDArray[Any]], path: Path) -> Any:
    """The tree with the structure of ``tree`` and its leaves' kinds."""
    from .. import numpy as mnp

    leaves, structure = trees.flatten_with_paths(tree)
    names = [name for name, _ in leaves]
    for name in (*names, *arrays):
        if (name in arrays) != (name in names):
            who = "the checkpoint" if name in arrays else "the program"
            raise _mismatch(path, f"only {who} has {name!r}")
    restored: list[Any] = []
    for name, leaf in leaves:
        array, expected = arrays[name], _stored(name, leaf)
        if (array.shape, array.dtype) != (expected.shape, expected.dtype):
            theirs = f"{expected.dtype}{list(expected.shape)}"
            raise _mismatch(path, f"{name!r} is {array.dtype}{list(array.shape)}, the program's is {theirs}")
        if isinstance(leaf, Array):
            restored.append(mnp.asarray(array))
        else:
            restored.append(array.copy() if isinstance(leaf, np.ndarray) else type(leaf)(array[()]))
    return trees.unflatten(structure, restored)


def _mismatch(path: Path, what: str) -> DataError:
    return DataError(f"checkpoint {path}: {what}", hint="it is of another program: name another folder, or remove it")
