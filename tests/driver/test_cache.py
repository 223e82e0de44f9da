"""The cache on disk: what hits, what misses and why, damage, bounds, several processes, how soon a program starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import mlc
import mlc.numpy as mnp
from mlc.cache import Entry, Folder, decode_entry, encode_entry
from mlc.errors import Notice

X = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def origin(function: Any, *args: Any) -> tuple[bool, str]:
    found = mlc.jit(function).lower(*args).compile().origin
    return found.cached, found.why


def test_the_second_time_hits(folder: Path) -> None:
    assert origin(lambda x: x * 2 + 1, X) == (
        False, "not in the cache: no function of this name and file was compiled before",
    )  # fmt: skip
    assert origin(lambda x: x * 2 + 1, X) == (True, "")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert all(p.stat().st_mode & 0o777 == 0o600 for p in folder.iterdir())


def test_reasons(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = "not in the cache: since it was compiled last, "
    origin(lambda x: x * 2, X)
    assert origin(lambda x: x * 3, X) == (False, f"{changed}its operations, shapes or constants changed")
    assert origin(lambda y: y * 3, X) == (
        False, f"{changed}names of arguments or results, or what is donated, changed",
    )  # fmt: skip
    monkeypatch.setenv("MLC_LLVM_OPT", "1")
    cached, why = origin(lambda y: y * 3, X)
    assert not cached and why.startswith(f"{changed}flags changed: MLC_SKIP= MLC_LLVM_OPT=0, now")
    monkeypatch.setenv("MLC_LLVM_OPT", "0")
    monkeypatch.setenv("MLC_TARGET", "x86-64-v3")
    if mlc.jit(lambda y: y).lower(X).options.target.name != "x86-64-v4":
        assert origin(lambda y: y * 3, X)[1] in ("", f"{changed}the target changed")
    monkeypatch.delenv("MLC_TARGET")
    monkeypatch.setenv("MLC_VERIFY", "1")
    assert origin(lambda y: y * 3, X) == (False, "MLC_DUMP and MLC_VERIFY need every stage")
    monkeypatch.setenv("MLC_CACHE", "0")
    monkeypatch.setenv("MLC_VERIFY", "0")
    assert origin(lambda y: y * 3, X) == (False, "the cache is off (MLC_CACHE=0)")


def test_damaged_entries_are_said_to_be_and_replaced(folder: Path) -> None:
    origin(lambda x: x * 7, X)
    (program,) = folder.glob("program-*")
    for damaged in (program.read_bytes()[:-9], b"", b"?" + program.read_bytes()[1:]):
        program.write_bytes(damaged)
        assert origin(lambda x: x * 7, X) == (False, "its entry in the cache is damaged")
        assert origin(lambda x: x * 7, X) == (True, "")


def test_changed_sources_miss(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlc.cache import key

    origin(lambda x: x - 2, X)
    monkeypatch.setattr(key, "_sources", lambda: (__file__,))
    assert origin(lambda x: x - 2, X) == (
        False, "not in the cache: since it was compiled last, mlc itself changed",
    )  # fmt: skip


def test_a_process_goes_on_with_the_sources_that_it_began_with(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What it compiles after an upgrade is the old compiler's work; sources may be gone by then."""
    from mlc.cache import key

    source = tmp_path / "pass.py"
    source.write_text("old")
    monkeypatch.setattr(key, "_sources", lambda: (str(source),))
    assert origin(lambda x: x - 3, X)[0] is False
    source.write_text("newer")
    assert origin(lambda x: x - 3, X)[0] is True
    source.unlink()
    assert origin(lambda x: x - 4, X)[0] is False


def test_another_line_hits_and_is_named(folder: Path) -> None:
    def source(lines: int, scope: str) -> Any:
        namespace: dict[str, Any] = {"mlc": mlc, "mnp": mnp}
        text = (
            "\n" * lines
            + f"def f(x):\n    with mlc.scope('{scope}'):\n        y = mnp.exp(x)\n    return mnp.sum(y, 0)\n"
        )
        exec(compile(text, "user.py", "exec"), namespace)
        return namespace["f"]

    first = mlc.jit(source(0, "encoder")).lower(X).compile()
    second = mlc.jit(source(7, "decoder")).lower(X).compile()
    assert second.origin.cached
    assert "encoder" in str(first.program.plan) or "user.py:4" in str(first.program.plan)
    assert str(second.program.plan) == str(mlc.jit(source(7, "decoder")).lower(X).compile().function.plan)
    assert str(second.program.plan) != str(first.program.plan)
    np.testing.assert_array_equal(np.asarray(second(X)), np.asarray(first(X)))


def test_stages_of_a_program_from_the_cache(folder: Path) -> None:
    def f(x: Any) -> Any:
        return mnp.tanh(x @ mnp.transpose(x)) + TABLE[:2, :2]

    a, b = (mlc.jit(f).lower(X).compile() for _ in range(2))
    assert (a.origin.cached, b.origin.cached) == (False, True)
    assert a.memory_analysis() == b.memory_analysis()
    for stage in ("graph", "optimized", "kernels", "plan", "llvm", "asm"):
        assert a.as_text(stage) == b.as_text(stage)


TABLE = np.random.default_rng(0).normal(size=(40, 30)).astype(np.float32)


def test_large_constants_stay_with_the_program(folder: Path) -> None:
    """What the traced graph has at hand is not written; what a pass made of it is."""

    def f(x: Any) -> Any:
        return x + TABLE

    for cached in (False, True):
        compiled = mlc.jit(f).lower(TABLE).compile()
        assert compiled.origin.cached is cached
        np.testing.assert_array_equal(np.asarray(compiled(TABLE)), TABLE + TABLE)
    (program,) = folder.glob("program-*")
    assert program.stat().st_size < TABLE.nbytes


def test_symbolic_sizes_and_donation(folder: Path) -> None:
    spec = mlc.ShapeDtype((mlc.dim("batch", 1, 64), 3), "f32")
    for cached in (False, True):
        compiled = mlc.jit(lambda x: x * 2, donate_argnames="x").lower(spec).compile()
        assert compiled.origin.cached is cached
        for n in (1, 5):
            x = mnp.asarray(X[:1].repeat(n, 0))
            np.testing.assert_array_equal(np.asarray(compiled(x)), X[:1].repeat(n, 0) * 2)
            assert x.is_deleted()


def test_entries_round_trip() -> None:
    constants = tuple(
        np.arange(5).astype(d) for d in (np.float16, ml_dtypes.bfloat16, np.float64, np.int8, np.uint64, np.bool_)
    )
    entry = Entry(
        b"plan", (("k", "o", "s"),), ("digest", *constants, np.zeros((0, 3), np.int32)), {3: ("a.py", 7, "x/y")}
    )
    again = decode_entry(encode_entry(entry))
    assert (again.plan, again.kernels, again.lines) == (entry.plan, entry.kernels, entry.lines)
    for one, other in zip(entry.constants, again.constants, strict=True):
        assert type(one) is type(other)
        if not isinstance(one, str) and not isinstance(other, str):
            assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())


def test_a_folder_is_bounded_by_use(tmp_path: Path) -> None:
    cache = Folder(tmp_path / "c", most_bytes=10_000)
    for i in range(9):
        cache.put(f"f{i}", bytes(1000))
        os.utime(tmp_path / "c" / f"f{i}", (i, i))
    assert cache.get("f0") == bytes(1000)  # used now
    cache.put("f9", bytes(1000))
    assert cache.get("f0") is not None and cache.get("f9") is not None and cache.get("f1") is None
    assert sum(p.stat().st_size for p in (tmp_path / "c").iterdir()) <= 7500
    for name in (".new-x", ".lock-x", ".lock-y"):
        (tmp_path / "c" / name).touch()
    os.utime(tmp_path / "c" / ".new-x", (1, 1)), os.utime(tmp_path / "c" / ".lock-x", (1, 1))
    cache.put("f10", b"")
    assert [p.name for p in (tmp_path / "c").glob(".*")] == [".lock-y"]  # whoever made the others was killed


def test_folders_of_others_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    with pytest.warns(Notice, match="can be written by other users; hint: chmod 700"):
        assert Folder(shared).get("x") is None
    monkeypatch.setenv("MLC_CACHE", str(shared))
    with pytest.warns(Notice, match="can be written by other users") as caught:
        assert "can be written by other users" in origin(lambda x: x * 5, X)[1]
    assert [Path(w.filename) for w in caught] == [Path(__file__)]
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MLC_CACHE", str(tmp_path / "file"))
    assert "is no folder" in origin(lambda x: x * 5, X)[1] or "cannot be made" in origin(lambda x: x * 5, X)[1]
    assert not Folder(Path("/proc/nothing/here")).put("x", b"")


PROGRAM = """
import sys
import numpy as np
import mlc, mlc.numpy as mnp
from mlc import nn, optim

def init(sizes):
    chance = np.random.default_rng(0)
    return [{"w": chance.normal(0, 0.05, (a, b)).astype("f"), "b": np.zeros(b, "f")} for a, b in zip(sizes, sizes[1:])]

def loss(params, x, y):
    for layer in params[:-1]:
        x = nn.relu(x @ layer["w"] + layer["b"])
    return nn.cross_entropy(x @ params[-1]["w"] + params[-1]["b"], y)

opt = optim.adam(1e-3)

@mlc.jit(donate_argnames=("params", "state"))
def step(params, state, x, y):
    value, grads = mlc.value_and_grad(loss)(params, x, y)
    params, state = opt.update(params, grads, state)
    return params, state, value

params = mlc.tree.map(mnp.asarray, init([784, 512, 512, 10]))
state = opt.init(params)
x = mnp.asarray(np.random.default_rng(1).normal(size=(128, 784)).astype("f"))
y = mnp.asarray(np.arange(128, dtype=np.int32) % 10)
params, state, value = step(params, state, x, y)
print([float(step(params, state, x, y)[2]).hex(), float(value).hex()])
print("hit:" in mlc.explain_cache(step))
unwanted = "llvmlite", "mlc.passes", "mlc.codegen", "mlc.ir.kernel"
print(sorted(m for m in sys.modules if m.startswith(unwanted)))
"""


def run(folder: Path, **flags: str) -> list[str]:
    environment = {
        **os.environ, "MLC_CACHE": str(folder), "PYTHONPYCACHEPREFIX": str(folder.parent / "pyc"),
        "PYTHONDONTWRITEBYTECODE": "", **flags,
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_warm_start_needs_no_compiler(tmp_path: Path) -> None:
    """The Adam step of an MLP: traced, differentiated, looked up, linked and run; `tests.bench` says how fast."""
    cold = run(tmp_path / "cache")
    assert "llvmlite" in cold[2]
    warm = run(tmp_path / "cache")
    assert (warm[0], warm[2]) == (cold[0], "[]")
    for path in (tmp_path / "cache").iterdir():  # damage everything: compiled anew, and mended
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    assert run(tmp_path / "cache")[0] == cold[0]
    again = run(tmp_path / "cache")
    assert (again[0], again[2]) == (cold[0], "[]")


def test_processes_at_once(tmp_path: Path) -> None:
    """Each program is compiled by one of them."""
    program = """
import numpy as np, mlc, mlc.numpy as mnp
for i in range(1, 9):
    x = np.ones(i, "f")
    compiled = mlc.jit(lambda x: mnp.sum(mnp.exp(x) * i)).lower(x).compile()
    assert abs(float(compiled(x)) - i * i * np.e) < 1e-3 * i * i, i
    print(i) if not compiled.origin.cached else None
"""
    environment = {**os.environ, "MLC_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", program]
    running = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    compiled = [number for process in running for number in process.communicate(timeout=120)[0].split()]
    assert sorted(compiled) == list("12345678")
    assert [p.returncode for p in running] == [0, 0, 0]
    assert not list((tmp_path / "cache").glob(".*"))


def test_explain_cache(folder: Path) -> None:
    f = mlc.jit(lambda tree, n=1: tree["x"] * n, static_argnames="n")
    assert mlc.explain_cache(f) == "<lambda>: not called yet"
    f({"x": X}), f({"x": X}), f({"x": X[:1]}), f({"x": X}, n=3), f({"x": X, "y": 1.0})
    lines = mlc.explain_cache(f).splitlines()
    assert len(lines) == 4 and lines[0].startswith("<lambda>(tree['x']: f32[2,3]): miss: compiled in ")
    for line, words in zip(
        lines,
        [
            "new: the first call", "new: argument tree['x'] is f32[1,3], was f32[2,3]",
            "new: static n is 3, was not given", "only one has 'y'",
        ],
        strict=True,
    ):  # fmt: skip
        assert line.endswith(words)
    again = mlc.jit(lambda tree, n=1: tree["x"] * n, static_argnames="n")
    again({"x": X})
    assert "(tree['x']: f32[2,3]): hit: from the cache on disk in " in mlc.explain_cache(again)
    with pytest.raises(mlc.MlcError, match="no jitted function"):
        mlc.explain_cache(len)
