"""The measuring script measures: shares of the peak are shares, and a wrong product stops it."""

from __future__ import annotations

import shutil

import pytest

from . import matmul


@pytest.mark.skipif(shutil.which("cc") is None, reason="the launcher needs a C compiler")
def test_the_script_prints_shares_of_the_peak(capsys: pytest.CaptureFixture[str]) -> None:
    matmul.main(["--squares", "17,32", "--random", "3", "--launches", "20"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("multiply-add peak")
    assert [line.split("^")[0].strip() for line in lines[1:3]] == ["17", "32"]
    assert "3 random shapes" in lines[4]
    assert len(lines) == 8


@pytest.mark.skipif(shutil.which("cc") is None, reason="the launcher needs a C compiler")
def test_no_product_is_above_the_peak() -> None:
    found = matmul.measure([(24, 64, 64)], launches=100)
    assert 0.01 < found.share((24, 64, 64)) < 1.2  # the clock may change between the two
