"""Loading an artifact: right numbers without tracing or LLVM, and a clear refusal of everything that is not one."""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlc
from mlc.artifact import manifest as manifests
from mlc.artifact import package
from mlc.artifact.loading import load
from mlc.errors import ArgumentError, ArtifactError, MlcError, TargetError
from mlc.runtime import _rt
from tests.artifact.conftest import emit
from tests.artifact.made_by_hand import B, W, expected

TARGETS = [t for t, level in (("x86-64-v3", 3), ("x86-64-v4", 4)) if _rt.lib.mlc_cpu_level() >= level]


@pytest.mark.parametrize("target", [None, *TARGETS])
def test_every_batch_is_right_on_every_target(built: Path, target: str | None) -> None:
    artifact = load(built / "m.mlc", target=target)
    assert target in (None, artifact.predict.target)
    for rows in (1, 2, 63, 64):
        x = np.random.default_rng(rows).normal(size=(rows, 5)).astype(np.float32)
        result = artifact.predict(x=x)
        assert np.array_equal(np.asarray(result["probs"]), expected(x))
        assert int(artifact["elements"](x[:, :3].copy())) == 5 * rows


def test_an_artifact_says_what_it_is(built: Path) -> None:
    artifact = load(built / "m.mlc")
    assert list(artifact) == ["predict", "elements"] and "predict" in dir(artifact)
    assert str(artifact.predict) == "predict(x: f32[batch,5]) -> (probs: f32[batch,5]), batch in 1..64"
    assert artifact.manifest["compiler"]["flags"]["targets"] == ["x86-64-v3", "x86-64-v4"]
    with pytest.raises(AttributeError, match="no function 'train'"):
        artifact.train  # noqa: B018
    with pytest.raises(ArtifactError, match="no function 'train'"):
        artifact["train"]


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        ((), {}, "'x' missing"),
        ((1, 2), {}, "takes 1 arguments, got 2"),
        ((), {"y": 1}, "'y' is not an argument"),
        ((1,), {"x": 1}, "'x' is got twice"),
        ((np.zeros((65, 5), np.float32),), {}, "batch"),
        ((np.zeros((2, 5), np.float64),), {}, "f64"),
        ((np.zeros((2, 4), np.float32),), {}, "x"),
    ],
)
def test_wrong_arguments_are_refused(built: Path, args: Any, kwargs: Any, words: str) -> None:
    with pytest.raises(MlcError, match=words):
        load(built / "m.mlc").predict(*args, **kwargs)
    with pytest.raises(ArgumentError):
        load(built / "m.mlc").predict()


def test_loading_imports_neither_llvm_nor_the_compiler(built: Path) -> None:
    program = f"""
import sys, mlc, numpy as np
got = mlc.load({str(built / "m.mlc")!r}).predict(x=np.ones((2, 5), np.float32))
assert np.asarray(got["probs"]).shape == (2, 5)
bad = [m for m in sys.modules if m.startswith(("llvmlite", "mlc.compiler", "mlc.passes", "mlc.codegen"))]
assert not bad, bad
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_nothing_is_left_behind(built: Path, tmp_path: Path) -> None:
    program = f"import mlc; mlc.load({str(built / 'm.mlc')!r})"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
    assert list(tmp_path.iterdir()) == []


def test_large_weights_are_mapped_in_place(built: Path) -> None:
    """Every member's data lies aligned in the file, so that what the safetensors header aligns is aligned in memory."""
    held = package.Package(built / "m.mlc")
    whole = np.frombuffer(held._data, np.uint8).ctypes.data
    for name in held.names():
        assert (np.frombuffer(held._view(name), np.uint8).ctypes.data - whole) % 64 == 0


def test_the_same_input_gives_the_same_bytes(built: Path, tmp_path: Path) -> None:
    assert emit(tmp_path, "m.mlc").read_bytes() == (built / "m.mlc").read_bytes()
    assert emit(tmp_path, "libm.a").read_bytes() == (built / "libm.a").read_bytes()


def test_the_zip_is_plain(built: Path) -> None:
    with zipfile.ZipFile(built / "m.mlc") as zip_file:
        assert zip_file.testzip() is None
        assert all(i.compress_type == zipfile.ZIP_STORED for i in zip_file.infolist())
        names = set(zip_file.namelist())
    assert {"manifest.json", "libm.so", "libm.h", "weights.safetensors", "text/predict.x86-64-v4.plan"} <= names


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no mlc artifact"),
        (b"PK\3\4", "damaged or cut off"),
        (b"\x7fELF" + bytes(99), "no mlc artifact"),
        (None, "cannot read"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "m.mlc"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ArtifactError, match=words):
        load(path)


def test_a_foreign_zip_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.mlc", "w") as zip_file:
        zip_file.writestr("hello.txt", "hello")
    with pytest.raises(ArtifactError, match=r"no mlc artifact: it has no manifest.json"):
        load(tmp_path / "m.mlc")


def edited(built: Path, path: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    """The artifact with its manifest changed and everything else, checksums included, consistent."""
    held = package.Package(built / "m.mlc")
    manifest = json.loads(json.dumps(held.manifest))
    members: dict[str, bytes | Path] = {n: bytes(held._view(n)) for n in held.names() if n != package.MANIFEST}
    del manifest["members"]
    edit(manifest)
    package.write(path, manifest, members)
    return path


@pytest.mark.parametrize(
    ("edit", "error", "words"),
    [
        (lambda m: m.update(format=manifests.FORMAT + 1), ArtifactError, r"has format 2, made by mlc .*; this mlc re"),
        (lambda m: m.update(format="1"), ArtifactError, "its format is '1'"),
        (lambda m: m.update(kind="other"), ArtifactError, "its manifest does not say so"),
        (lambda m: m.pop("functions"), ArtifactError, "'functions' is missing"),
        (lambda m: m.update(library="no.so"), ArtifactError, "no.so is missing"),
        (lambda m: m.update(library="libm.h"), ArtifactError, "does not load"),
        (lambda m: m.update(prefix="other"), ArtifactError, "it has no other_library"),
        (lambda m: m.update(platform="linux-aarch64"), TargetError, "compiled for linux-aarch64"),
        (lambda m: m["functions"].pop(), ArtifactError, "different functions"),
        (lambda m: m["functions"].append(3), ArtifactError, "a record without"),
        (lambda m: m["functions"][0]["inputs"][0].update(dtype="f64"), ArtifactError, "differ on predict"),
        (lambda m: m["functions"][0]["inputs"].append({}), ArtifactError, "a record without"),
        (lambda m: m["functions"][0].update(result=None), ArtifactError, "a damaged structure"),
        (lambda m: m["functions"][0].update(arguments={"x": 1}), ArtifactError, "leaves"),
        (lambda m: m["constants"].pop(), ArtifactError, "its library has 2 weights, it has 1"),
        (lambda m: m["constants"][0].update(shape=[1 << 60, 1 << 60]), ArtifactError, "weights: 'w' is not"),
        (lambda m: m["constants"][0].update(dtype="i4"), ArtifactError, "a weight of the type 'i4'"),
        (lambda m: m["constants"][0].update(name=["w"]), ArtifactError, "a record without"),
    ],
)
def test_manifests_that_do_not_fit_are_refused(
    built: Path, tmp_path: Path, edit: Any, error: type[MlcError], words: str
) -> None:
    with pytest.raises(error, match=words):
        load(edited(built, tmp_path / "m.mlc", edit))


def test_an_older_format_with_more_keys_loads(built: Path, tmp_path: Path) -> None:
    load(edited(built, tmp_path / "m.mlc", lambda m: m.update(unknown_key=1)))


def test_one_flipped_byte_is_seen_in_every_member(built: Path, tmp_path: Path) -> None:
    held = package.Package(built / "m.mlc")
    assert {"libm.so", "weights.safetensors", "manifest.json"} < set(held.names())
    for name in held.names():
        view = held._view(name)
        at = (
            np.frombuffer(view, np.uint8).ctypes.data - np.frombuffer(held._data, np.uint8).ctypes.data + len(view) // 2
        )
        data = bytearray(bytes(held._data))
        data[at] ^= 1
        (tmp_path / "m.mlc").write_bytes(data)
        with pytest.raises(ArtifactError, match="damaged"):
            load(tmp_path / "m.mlc")


def test_random_damage_never_gets_through(built: Path, tmp_path: Path) -> None:
    """Cut-off and scribbled files either load with their checksums intact or are refused with an ArtifactError."""
    good = (built / "m.mlc").read_bytes()
    generator = random.Random(1)
    x = np.ones((3, 5), np.float32)
    refused = 0
    for i in range(120):
        data = bytearray(good)
        if i % 3 == 0:
            del data[generator.randrange(len(data)) :]
        else:
            region = len(data) if i % 3 == 1 else 6000  # the directory and the manifest are at the end
            for _ in range(generator.choice((1, 4, 30))):
                data[len(data) - 1 - generator.randrange(region)] = generator.randrange(256)
        (tmp_path / "m.mlc").write_bytes(data)
        try:
            result = load(tmp_path / "m.mlc").predict(x=x)
        except (ArtifactError, TargetError):
            refused += 1
        else:
            assert np.array_equal(np.asarray(result["probs"]), expected(x))
    assert refused > 60


def test_members_outside_the_file_are_refused(built: Path, tmp_path: Path) -> None:
    """A directory that names more bytes than the file has."""
    data = bytearray((built / "m.mlc").read_bytes())
    at = data.index(b"PK\1\2")
    data[at + 20 : at + 28] = struct.pack("<II", 0x7FFFFFF0, 0x7FFFFFF0)
    (tmp_path / "m.mlc").write_bytes(data)
    with pytest.raises(ArtifactError, match="does not lie inside the file"):
        load(tmp_path / "m.mlc")


def test_an_artifact_without_kernels_for_this_target_is_refused(tmp_path: Path) -> None:
    path = emit(tmp_path, "m.mlc", targets=("x86-64-v3",))
    assert load(path).predict.target == "x86-64-v3"
    with pytest.raises(TargetError):
        load(path, target="x86-64-v4")
    with pytest.raises(TargetError, match="no target"):
        load(path, target="sparc")


def test_the_weights_are_the_programs(built: Path) -> None:
    zeros = np.asarray(mlc.load(built / "m.mlc").predict(x=np.zeros((1, 5), np.float32))["probs"])
    ones = np.asarray(mlc.load(built / "m.mlc").predict(x=np.ones((1, 5), np.float32))["probs"])
    assert np.array_equal(zeros[0], B) and np.array_equal(ones[0], (W.astype(np.float64) + B).astype(np.float32))
