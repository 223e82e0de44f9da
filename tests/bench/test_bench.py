"""The benchmark runs: every part reports numbers, columns that do other work are found, options are checked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from .__main__ import main
from .parts import losses_agree


@pytest.fixture(autouse=True)
def without_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JAX", "TORCH"):
        monkeypatch.delenv(f"MLC_BENCH_{name}", raising=False)


def test_a_peer_that_does_other_work_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    peer, written = tmp_path / "peer", tmp_path / "found.json"
    peer.write_text("""#!/bin/sh\necho '{"build": 1e9, "build_cpu": 1, "step": 1e9, "losses": [0, 0, 0]}'\n""")
    peer.chmod(0o755)
    words = ["--quick", "--only", "steps", "--steps", "T1", "--seconds", "0", "--jax", str(peer)]
    assert main([*words, "--json", str(written)]) == 4
    out, err = capsys.readouterr()
    assert "T1: WRONG, the losses differ: mlc [2." in out
    assert "0.00x" in out  # of a peer that takes a billion seconds
    assert err.startswith("without torch: --torch PYTHON or MLC_BENCH_TORCH would name")
    found = json.loads(written.read_text())["steps"]["T1"]
    assert 0 < found["mlc"]["step"] < found["mlc"]["build"] < found["jax"]["build"]
    assert losses_agree({"mlc": found["mlc"]})


@pytest.mark.skipif(shutil.which("cc") is None, reason="the launcher needs a C compiler")
def test_shares_of_the_peak_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = tmp_path / "found.json"
    assert main(["--quick", "--only", "matmul", "--squares", "32", "--random", "2", "--json", str(written)]) == 0
    out, err = capsys.readouterr()
    assert "2 random products" in out
    assert not err  # peers have no part in products
    found = json.loads(written.read_text())["matmul"]
    assert list(found["squares"]["shares"]) == ["32"]
    assert 0 < found["random"]["worst"] <= found["random"]["geometric mean"] < 1.2


@pytest.mark.skipif(shutil.which("cc") is None, reason="the library's own calls need a C compiler")
def test_collectives_are_compared_with_the_librarys_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = tmp_path / "found.json"
    assert main(["--quick", "--only", "collectives", "--bytes", "1024", "--json", str(written)]) == 0
    out, err = capsys.readouterr()
    found = json.loads(written.read_text())["collectives"]
    if not found:
        pytest.skip(f"needs an MPI, which is not here: {err}")
    for name, sizes in found.items():
        assert f"all-reduce of two ranks, f32, {name}" in out
        assert list(sizes) == ["1024"]
        assert 0 < sizes["1024"]["raw"] < 1
        assert 0 < sizes["1024"]["step"] < 1


def test_the_overlap_over_a_link_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = tmp_path / "found.json"
    assert main(["--quick", "--only", "overlap", "--json", str(written)]) == 0
    out, err = capsys.readouterr()
    found = json.loads(written.read_text())["overlap"]
    if not found:
        pytest.skip(err)
    assert out.startswith("all-reduce of 1 MB between two hosts over 1 Gbit/s: ")
    assert all(found[name] > 0 for name in ("compute", "communication", "both"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "steps,speed"], "there is no 'speed'; there are steps, warm, calls, matmul, collectives, overlap"),
        (["--steps", "T9"], "there is no 'T9'; there are T1, T2, T3"),
        (["--jax", "no/such/python"], "jax: there is no Python no/such/python"),
        (["--json", "no/such/folder/found.json"], "the folder no/such/folder does not exist"),
        (["--squares", "0"], "a side or size is at least 1"),
    ],
)
def test_wrong_options_are_usage_errors(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
