"""Golden errors: each program in ``programs/`` ends with the exact text of the error it raises, as comments.

``MLC_BLESS=1 pytest tests/errors`` writes the text of today's errors: read the diff.
"""

from __future__ import annotations

import os
import runpy
from pathlib import Path

import pytest

from mlc.errors import MlcError

PROGRAMS = sorted((Path(__file__).parent / "programs").glob("*.py"))
MARK = "# error: "


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.stem)
def test_error(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(program.parent)
    with pytest.raises(MlcError) as caught:
        runpy.run_path(program.name, run_name="__main__")
    got = [MARK + line for line in str(caught.value).split("\n")]
    code, want = _split(program.read_text())
    if os.environ.get("MLC_BLESS"):
        program.write_text("\n".join([*code, *got]) + "\n")
        return
    assert got == want
    assert f"{program.name}:" in got[0] and "hint: " in got[-1]


def _split(text: str) -> tuple[list[str], list[str]]:
    lines = text.rstrip("\n").split("\n")
    return [x for x in lines if not x.startswith(MARK)], [x for x in lines if x.startswith(MARK)]
