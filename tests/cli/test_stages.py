"""The stages that MLC_DUMP writes: mlc opt and mlc run read each back, and every one computes what the program does."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlc.numpy as mnp
from mlc import jit, nn, optim, value_and_grad
from mlc.cli.feeds import leaves_of, leaves_of_graph
from mlc.cli.stage import STAGES, open_stage
from mlc.dump import read_graph
from mlc.errors import ParseError
from mlc.ir.graph.tolerance import expected
from mlc.numpy import asarray

from .command import mlc, process

PROGRAM = """
import mlc, mlc.numpy as mnp, numpy as np

W = mnp.asarray(np.arange(64 * 24, dtype=np.float32).reshape(64, 24) % 13 / 16 - 0.4)  # 6 KB: named by digest

@mlc.jit
def net(x):
    with mlc.scope("dense"):
        y = mnp.tanh(x @ W)
    return {"sum": mnp.sum(y * 1, axis=0), "peak": mnp.max(y), "row": mnp.exp(y[0])}

x = np.load("x.npy")
for name, value in net(x).items():
    np.save(name + ".npy", np.asarray(value))
"""
ORDER = ("peak", "row", "sum")  # of the leaves of the result


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the stages of ``net``; x.npy and its results lie in the folder above that of the dumps."""
    folder = tmp_path_factory.mktemp("stages")
    (folder / "net.py").write_text(PROGRAM)
    np.save(folder / "x.npy", np.random.default_rng(0).normal(size=(5, 64)).astype(np.float32))
    done = process("run", "net.py", cwd=folder, MLC_DUMP=str(folder / "d"))
    assert done.returncode == 0, done.stderr
    (found,) = (folder / "d").glob("*-net")
    return found


def stages(dump: Path, ending: str) -> list[Path]:
    found = sorted(dump.glob(f"*{ending}"))
    assert found
    return found


def test_every_stage_is_numbered(dump: Path) -> None:
    names = [p.name for p in sorted(dump.glob("[0-9]*"))]
    assert [n[:2] for n in names if not n.endswith(".mlcp")] == [f"{i:02d}" for i in range(len(names) - 1)]
    assert names[0] == "00-traced.graph" and names[-1].endswith("-asm.s")


def test_every_graph_and_kernels_stage_runs_and_agrees(dump: Path) -> None:
    wanted = {f"out{i}": np.load(dump.parents[1] / f"{name}.npy") for i, name in enumerate(ORDER)}
    files = stages(dump, ".graph") + stages(dump, ".kernels")
    assert len(files) >= 7
    for file in files:
        for how in ([], ["--interpret"]):
            if how and file.suffix == ".graph" and file.name != "00-traced.graph":
                continue
            out = dump.parents[1] / "out.npz"
            done = mlc("run", file, "--feed", "x=@x.npy", "-o", out, *how, cwd=dump.parents[1])
            assert done.returncode == 0, (file.name, done.stderr)
            with np.load(out) as found:
                for (name, got), want in zip(found.items(), wanted.values(), strict=True):
                    np.testing.assert_allclose(got, want, rtol=2e-6, atol=2e-6, err_msg=f"{file.name} {name} {how}")


def dense(p, x):  # type: ignore[no-untyped-def]
    return nn.relu(x @ p["w"] + p["b"]) @ p["v"]


def convolved(p, x):  # type: ignore[no-untyped-def]
    x = mnp.reshape(x[:, :16], (x.shape[0], 4, 4, 1))
    x = nn.max_pool(nn.relu(nn.conv(x, p["k"], padding="SAME")), (2, 2), strides=(2, 2))
    return mnp.reshape(x, (x.shape[0], -1)) @ p["w"][:, :5] + p["b"][:5]


@pytest.mark.parametrize("forward", [dense, convolved])
def test_every_stage_of_a_training_step_is_read_back(
    forward: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Graphs are evaluated, all that comes later runs as machine code; the texts of later stages are made again."""
    optimizer = optim.adam(1e-3)

    def step(p, s, x, y):  # type: ignore[no-untyped-def]
        loss, gradients = value_and_grad(lambda p: nn.cross_entropy(forward(p, x), y))(p)
        return loss, *optimizer.update(p, gradients, s)

    rng = np.random.default_rng(0)
    shapes = {"w": (20, 9), "b": (9,), "v": (9, 5), "k": (3, 3, 1, 5)}
    p = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    monkeypatch.setenv("MLC_DUMP", str(tmp_path))
    lowered = jit(step, donate_argnames=("p", "s")).lower(p, optimizer.init(p), np.ones((6, 20), "f"), np.arange(6) % 5)
    lowered.compile()
    monkeypatch.delenv("MLC_DUMP")
    (folder,) = tmp_path.glob("*-step")
    files = sorted(f for f in folder.iterdir() if f.suffix in STAGES)
    assert {f.name for f in folder.iterdir()} - {f.name for f in files} <= {"constants.safetensors"}
    graph = read_graph(files[0])
    arrays = [np.asarray(a) for a in leaves_of(leaves_of_graph(graph), {}, 0, {})]
    wanted = expected(graph, arrays)
    for file in files:
        function = open_stage(file, interpret=file.suffix == ".graph")
        for i, (want, found) in enumerate(zip(wanted, function.run_flat(list(map(asarray, arrays))), strict=True)):
            want.check(np.asarray(found), f"{file.name} result {i}")
    names = {f.name.partition("-")[2]: f for f in files}
    for made, given, words in (
        ("lowered.kernels", "scheduled.kernels", ()),
        ("llvm.ll", "lowered.kernels", ("--passes", "none", "--emit", "llvm")),
        ("asm.s", "llvm.ll", ("--emit", "asm")),
        ("plan.txt", "plan.mlcp", ()),
        ("plan.txt", "plan.txt", ()),
        ("asm.s", "asm.s", ()),
    ):
        done = mlc("opt", names[given], *words, cwd=folder)
        assert (done.returncode, done.stdout) == (0, names[made].read_text()), given


def test_opt_makes_every_stage_from_the_one_before(dump: Path) -> None:
    graphs = stages(dump, ".graph")
    for before, after in itertools.pairwise(graphs):
        name = after.stem.partition("-")[2]
        done = mlc("opt", before, "--passes", name, "--verify", "--locations", cwd=dump)
        assert (done.returncode, done.stdout) == (0, after.read_text()), (name, done.stderr)
        done = mlc("opt", graphs[0], "--until", name, "--locations", cwd=dump)
        assert (done.returncode, done.stdout) == (0, after.read_text()), name
    scheduled, lowered = stages(dump, ".kernels")
    assert mlc("opt", graphs[-1], "--passes", "none", "--emit", "kernels", cwd=dump).stdout == scheduled.read_text()
    assert mlc("opt", scheduled, "--verify", cwd=dump).stdout == lowered.read_text()
    assert mlc("opt", graphs[0], "--emit", "plan", cwd=dump).returncode == 0


def test_opt_lists_and_skips(dump: Path) -> None:
    listing = mlc("opt", "--list", cwd=dump).stdout
    for name in ("simplify", "fuse", "unroll", "remove-dead"):
        assert f"  {name} " in listing
    traced = stages(dump, ".graph")[0]
    kept = mlc("opt", traced, "--passes", "simplify", "--skip", "simplify", cwd=dump).stdout
    assert kept == mlc("opt", traced, "--passes", "none", cwd=dump).stdout
    assert kept != mlc("opt", traced, "--passes", "simplify", cwd=dump).stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("opt",), 2, "mlc opt FILE"),
        (("opt", "00-traced.graph", "--passes", "fly"), 2, "no pass 'fly'"),
        (("opt", "00-traced.graph", "--until", "fly"), 2, "no pass 'fly'"),
        (("opt", "00-traced.graph", "--skip", "fuse"), 2, "no pass 'fuse' can be left out"),
        (("opt", "00-traced.graph", "--target", "z80"), 5, "target 'z80'"),
        (("opt", "x.txt"), 1, "begins as no stage does"),
        (("opt", "bad.ll"), 1, "LLVM refuses the text"),
        (("opt", "*-plan.txt", "--passes", "fuse"), 2, "passes take a graph or kernels"),
        (("opt", "*-plan.txt", "--emit", "asm"), 2, "there is nothing to emit"),
        (("opt", "*-lowered.kernels", "--emit", "plan"), 2, "there is llvm, asm to emit"),
        (("opt", "*-llvm.ll", "--locations"), 2, "--locations goes with a graph"),
        (("run", "*-llvm.ll", "--random", "0", "--interpret"), 3, "is not interpreted"),
        (("run", "alone/11-plan.txt", "--random", "0"), 1, "0 files named *-lowered.kernels"),
        (("run", "00-traced.graph"), 2, "the input 'x' is missing"),
        (("run", "00-traced.graph", "--feed", "y=1"), 2, "there is no input 'y'"),
        (("run", "bad.graph", "--random", "0"), 1, "bad.graph: line 2"),
        (("run", "alone/05-scheduled.kernels", "--random", "0"), 1, "0 files named *-plan.mlcp"),
    ],
    ids=lambda x: x if isinstance(x, str) else None,
)
def test_mistakes_are_named(dump: Path, words: tuple[str, ...], code: int, said: str) -> None:
    (dump / "bad.graph").write_text("graph @f(%x: f32[2]) -> (f32[2]) {\n  %0 = fly %x : f32[2]\n  return %0\n}\n")
    (dump / "bad.ll").write_text(next(dump.glob("*-llvm.ll")).read_text().replace("ret void", "ret", 1))
    (dump / "x.txt").write_text("hello")
    (dump / "alone").mkdir(exist_ok=True)
    (dump / "alone" / "11-plan.txt").write_text(next(dump.glob("*-plan.txt")).read_text())
    (dump / "alone" / "constants.safetensors").write_bytes((dump / "constants.safetensors").read_bytes())
    (dump / "alone" / "05-scheduled.kernels").write_text(stages(dump, ".kernels")[0].read_text())
    words = tuple(next(dump.glob(w)).name if "*" in w else w for w in words)  # stages are numbered
    done = mlc(*words, cwd=dump)
    assert done.returncode == code and said in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_a_graph_without_its_constants_is_refused(dump: Path, tmp_path: Path) -> None:
    text = stages(dump, ".graph")[0].read_text()
    (tmp_path / "g.graph").write_text(text)
    with pytest.raises(ParseError, match="no resource"):
        read_graph(tmp_path / "g.graph")
    whole = (dump / "constants.safetensors").read_bytes()
    for damaged in (whole[:-9], whole[:40], b"", whole[:8] + b"[" + whole[9:]):
        (tmp_path / "constants.safetensors").write_bytes(damaged)
        with pytest.raises(ParseError, match=r"constants\.safetensors"):
            read_graph(tmp_path / "g.graph")


def test_a_failing_pass_says_how_to_repeat_it(tmp_path: Path) -> None:
    program = """
import mlc, mlc.numpy as mnp, numpy as np
from mlc.passes import runner
def simplify(graph):
    raise ZeroDivisionError("planted")
runner.PIPELINES = {k: (runner.Pass("simplify", simplify), *v) for k, v in runner.PIPELINES.items()}
import mlc.compiler
mlc.compiler.PIPELINES = runner.PIPELINES
print(mlc.jit(lambda x: x + 1)(np.ones(3, np.float32)))
"""
    (tmp_path / "p.py").write_text(program)
    done = process("run", "p.py", cwd=tmp_path, TMPDIR=str(tmp_path))
    assert done.returncode == 1
    assert "pass simplify failed: ZeroDivisionError('planted')" in done.stderr
    assert "add %" in done.stderr  # the graph
    (line,) = [x for x in done.stderr.splitlines() if "To repeat it: " in x]
    words = line.partition("To repeat it: mlc ")[2].split()
    assert mlc(*words, cwd=tmp_path).returncode == 0  # the true simplify does not fail


def test_a_number_is_fed_and_fetched(tmp_path: Path) -> None:
    (tmp_path / "f.graph").write_text(
        "graph @f(%x: f32[], %n: i64[]) -> (f32[]) {\n  %0 = convert %n : f32[]\n  %1 = add %x, %0 : f32[]\n"
        "  return %1\n}\n"
    )
    done = mlc("run", "f.graph", "--feed", "x=0.5", "--feed", "n=3", "--fetch", "out0", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["out0"] == {"shape": [], "dtype": "float32", "data": 3.5}


def test_opt_prints_json(dump: Path) -> None:
    listing = json.loads(mlc("opt", "--list", "--json", cwd=dump).stdout)
    assert {k: listing["graph"][-1][k] for k in ("name", "required")} == {"name": "fuse", "required": True}
    assert all(p["about"] for p in listing["graph"] + listing["kernel"])
    found = json.loads(mlc("opt", "00-traced.graph", "--until", "fuse", "--emit", "plan", "--json", cwd=dump).stdout)
    assert found["stage"] == "plan" and found["text"].startswith("plan net: ")
