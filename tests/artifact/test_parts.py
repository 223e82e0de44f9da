"""The parts of an artifact on their own: names, structures, signatures, weights, archives."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
import safetensors

from mlc.artifact import structure
from mlc.artifact.archive import archive
from mlc.artifact.exporting import export, recording
from mlc.artifact.header import prototype
from mlc.artifact.names import c_identifier, distinct, library_prefix
from mlc.artifact.signature import signature_of
from mlc.artifact.weights import Weight, collect, read_safetensors, write_block, write_safetensors
from mlc.errors import ArgumentError, ArtifactError, UnsupportedError
from mlc.ir.dims import dim
from mlc.ir.plan import Plan, PlanInput, PlanOutput
from mlc.ir.types import BF16, F32, I32, TensorType, dtype_of


@pytest.mark.parametrize(
    ("text", "name"),
    [("x", "x"), ("p['w1'][0]", "p_w1_0"), ("2d", "_2d"), ("float", "float_"), ("'é'", "value"), ("new", "new_")],
)
def test_names_become_identifiers(text: str, name: str) -> None:
    assert c_identifier(text) == name


def test_names_are_told_apart() -> None:
    assert distinct(["x", "x", "x_2", "y"], taken=["y"]) == ["x", "x_2", "x_2_2", "y_2"]


def test_the_prefix_is_the_file_without_lib() -> None:
    names = ("libm.so", "m.mlc", "lib.so", "libm.mlc", "a-b.c.a")
    assert [library_prefix(Path(p)) for p in names] == ["m", "m", "lib", "libm", "a_b"]


def test_structures_round_trip() -> None:
    tree = {"a": [0, (1, None)], "b": {}}
    made = structure.to_json(tree)
    structure.check(made, 2, "test")
    assert structure.unflatten(made, ["p", "q"]) == {"a": ["p", ("q", None)], "b": {}}
    leaves: dict[int, object] = {}
    structure.flatten(made, {"a": ["p", ("q", None)], "b": {}}, "x", leaves)
    assert leaves == {0: "p", 1: "q"}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"a": 1}, r"x is a dict with the keys \['a', 'b'\], got the keys \['a'\]"),
        ({"a": [1], "b": 2}, r"x\['a'\] is a list of 2 elements, got 1 elements"),
        ({"a": [1, 2], "b": 2}, r"x\['a'\]\[1\] is None in the artifact, got a int"),
        (3, "got a int"),
    ],
)
def test_what_does_not_fit_is_named(value: object, words: str) -> None:
    made = structure.to_json({"a": [0, None], "b": 1})
    with pytest.raises(ArgumentError, match=words):
        structure.flatten(made, value, "x", {})


@pytest.mark.parametrize(
    "damaged", [7, -1, "x", None, {}, {"list": 3}, {"set": []}, {"dict": []}, {"list": [0, 0]}, [0]]
)
def test_damaged_structures_are_refused(damaged: object) -> None:
    with pytest.raises(ArtifactError):
        structure.check(damaged, 1, "test")


def test_deep_structures_are_refused() -> None:
    deep: object = 0
    for _ in range(500):
        deep = {"list": [deep]}
    with pytest.raises(ArtifactError, match="deeper"):
        structure.check(deep, 1, "test")


def test_a_tree_that_json_cannot_hold_is_unsupported() -> None:
    with pytest.raises(UnsupportedError, match="strings as keys"):
        structure.to_json({1: 0})


def test_c_declarations_have_no_clashing_names() -> None:
    n = dim("x", 1, 4)
    inputs = (
        PlanInput("x", TensorType((n,), F32)),
        PlanInput("p['int']", TensorType((), BF16), 0),
        PlanInput("context", TensorType((2,), I32)),
    )
    outputs = (PlanOutput("x", TensorType((), BF16)),)
    signature = signature_of("f", Plan("f", n.symbols, inputs, outputs, (), 0, 0, (), ()), {}, 0)
    assert prototype("m", signature) == (
        "int m_f(struct mlc_context *context, int64_t x, const float *x_2, uint16_t *p_int, "
        "const int32_t *context_2, uint16_t *x_3)"
    )


@pytest.mark.parametrize("name", ["2x", "a-b", "", "for", "library", "_x"])
def test_exports_are_named_for_c(name: str) -> None:
    with pytest.raises(ArgumentError, match="cannot name"):
        export(name, lambda x: x)


def test_a_plain_run_records_nothing() -> None:
    export("f", lambda: pytest.fail("traced"))
    with recording() as exports:
        pass
    assert exports == []


def arrays() -> dict[str, npt.NDArray[np.generic]]:
    rng = np.random.default_rng(0)
    return {
        "odd": rng.integers(0, 9, 7).astype(np.int8),
        "w": rng.normal(size=(16, 3)).astype(np.float32),
        "half": rng.normal(size=5).astype(ml_dtypes.bfloat16),
        "flag": np.array([True, False]),
        "scalar": np.array(3.5),
        "empty": np.zeros((0, 4), np.float16),
        "big": rng.integers(0, 1 << 60, 64).astype(np.uint64),
    }


def as_file(weights: list[Weight]) -> bytes:
    file = io.BytesIO()
    write_safetensors(weights, file)
    return file.getvalue()


def test_weights_travel_as_safetensors() -> None:
    """What we write the safetensors package reads; what we read is equal, aligned, and of the dtype."""
    weights = [Weight(n, a) for n, a in arrays().items()]
    data = as_file(weights)
    theirs = dict(safetensors.deserialize(data))
    ours = read_safetensors(memoryview(data), {w.name: (w.type.dtype, w.array.shape) for w in weights})
    for name, array in arrays().items():
        assert bytes(theirs[name]["data"]) == ours[name].tobytes() == array.tobytes()
        assert tuple(theirs[name]["shape"]) == ours[name].shape == array.shape and ours[name].dtype == array.dtype
        assert ours[name].ctypes.data % 64 == 0 or not array.size


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda d: d[:4], "cut off"),
        (lambda d: b"\xff" * 8 + d[8:], "longer than the file"),
        (lambda d: d[:8] + b"[" + d[9:], "damaged"),
        (lambda d: d[:-1], "outside the file"),
        (lambda d: d.replace(b'"w"', b'"v"'), "missing"),
        (lambda d: d.replace(b"[16,3]", b"[16,2]"), r"not f32\[16,3\]"),
        (lambda d: d.replace(b'"F32"', b'"I32"'), r"not f32\[16,3\]"),
    ],
)
def test_damaged_weights_are_refused(edit: object, words: str) -> None:
    assert callable(edit)
    w = arrays()["w"]
    data = edit(as_file([Weight("w", w)]))
    with pytest.raises(ArtifactError, match=words):
        read_safetensors(memoryview(data), {"w": (dtype_of(w.dtype), w.shape)})


def test_equal_constants_are_stored_once(tmp_path: Path) -> None:
    one, two = np.ones((2, 3), np.float32), np.ones((3, 2), np.float32)
    weights, tables = collect([[("a", one), ("b", two)], [("c", one.copy()), ("a", one * 2)]])
    assert [w.name for w in weights] == ["a", "b", "a_2"] and tables == [[0, 1], [0, 2]]
    offsets = write_block(weights, tmp_path / "block")
    data = (tmp_path / "block").read_bytes()
    assert offsets == [0, 64, 128]
    assert [np.frombuffer(data, np.float32, 6, o).tolist() for o in offsets] == [[1] * 6, [1] * 6, [2] * 6]


@pytest.mark.skipif(shutil.which("cc") is None or shutil.which("ar") is None, reason="needs cc and ar")
def test_archives_are_what_ar_makes(tmp_path: Path) -> None:
    members = []
    for name in ("a.o", "a_name_of_more_than_15_letters.o"):
        n = len(name)
        source = f"int f_{n}(void) {{ return {n}; }} static int hidden = 3; int *g_{n} = &hidden;"
        subprocess.run(["cc", "-xc", "-c", "-", "-o", tmp_path / name], input=source, text=True, check=True)
        members.append((name, (tmp_path / name).read_bytes()))
    (tmp_path / "libt.a").write_bytes(archive(members))
    listed = subprocess.run(["ar", "t", tmp_path / "libt.a"], capture_output=True, text=True, check=True).stdout.split()
    assert listed == [name for name, _ in members]
    for name, data in members:
        assert subprocess.run(["ar", "p", tmp_path / "libt.a", name], capture_output=True, check=True).stdout == data
    main = "int f_3(void), f_32(void); int main(void) { return f_3() + f_32() - 35; }"
    subprocess.run(["cc", "-xc", "-", "-o", tmp_path / "t", f"-L{tmp_path}", "-lt"], input=main, text=True, check=True)
    assert subprocess.run([tmp_path / "t"]).returncode == 0
