"""What goes wrong with one rank of three is said by the others, in time, and ends all of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .launchers import MPIS, run

TIMEOUT = 3  # also of the start, where ranks come as the machine lets them
SECOND = "collective 2, all_reduce f32[262144] in two (model.py:2), "
LATE, EARLY = SECOND + "was not done within 3 s\n", SECOND + "was not done within 2.25 s\n"
PROCESS = r"rank 1 \(process \d+ on \S+\) "
LAST = re.escape("its last, done, was collective 1, all_reduce f32[1000] in one (model.py:1)")


def trouble(name: str, what: str, **environment: str) -> str:
    """The output of a run that fails."""
    done = run(name, 3, ["trouble.py", what], {"MLC_COLLECTIVE_TIMEOUT": str(TIMEOUT), **environment})
    assert done.returncode != 0, done.stdout
    return done.stdout


@pytest.mark.parametrize(
    ("name", "what", "named"),
    [
        ("mpich", "stopped", r"is stopped \(SIGSTOP or a debugger\) and has not entered it; " + LAST),
        ("openmpi", "stopped", r"is stopped \(SIGSTOP or a debugger\) and has not entered it; " + LAST),
        (
            "mpich",
            "stopped within",
            r"is stopped \(SIGSTOP or a debugger\) and has entered it, but does nothing for it",
        ),
        ("mpich", "busy", "is running and has not entered it; " + LAST),
        ("mpich", "idle within", "is running and has entered it, but does nothing for it"),
    ],
)
def test_the_rank_that_all_wait_for_is_named(name: str, what: str, named: str) -> None:
    output = trouble(name, what)
    assert output.count(EARLY if "stopped" in what else LATE) == 1, output  # by one rank
    assert re.search(PROCESS + named, output), output
    assert "rank 0 (process" not in output
    assert "rank 2 (process" not in output


def test_ranks_in_different_collectives_are_named() -> None:
    output = trouble("mpich", "another collective")
    assert "of 3: the ranks have started different collectives" in output
    assert "agreement on the collectives of train, schedule 0000000000000007" in output
    assert "all_reduce f32[262144] in two (model.py:2)" in output
    assert "was not done within" not in output


@pytest.mark.parametrize("name", MPIS)
def test_ranks_with_different_programs_fail_with_both_hashes(name: str) -> None:
    output = trouble(name, "another program")
    for rank in range(3):
        assert f"rank {rank} of 3: the ranks are about to run different programs:" in output
    assert (
        "  rank 0 and others: step, schedule 0000000000000008 (2 of 3)\n"
        "  rank 1: train, schedule 0000000000000007 (1 of 3)"
    ) in output


def test_a_rank_that_does_not_start_is_named_where_the_launcher_has_a_folder(tmp_path: Path) -> None:
    output = trouble("mpich", "stopped early", MLC_RUN_FOLDER=str(tmp_path))
    assert re.search(r"mlc: rank [02] of 3: the start of MPI, was not done within 3 s\n  rank 1 has not joined", output)
    assert (tmp_path / "failure").read_text() in output
    assert (tmp_path / "ranks").stat().st_size == 3 * (512 + 64 * 256)  # pages, and what each started last


@pytest.mark.parametrize("name", MPIS)
def test_a_rank_that_raises_does_not_wait_for_those_that_wait_for_it(name: str) -> None:
    output = trouble(name, "raised", MLC_COLLECTIVE_TIMEOUT="1000")
    assert "ValueError: rank 1 cannot go on" in output


def test_a_rank_that_works_on_after_the_last_collective_is_waited_for() -> None:
    done = run("mpich", 2, ["trouble.py", "last"], {"MLC_COLLECTIVE_TIMEOUT": "1"})
    assert done.returncode == 0, done.stdout


def test_a_wait_can_be_interrupted() -> None:
    output = trouble("mpich", "interrupted")
    assert "interrupted: rank 0: stopped while it waited for all_reduce f32[262144] in two (model.py:2)" in output
