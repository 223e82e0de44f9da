"""Ranks that start the same collectives in different orders are stopped, with both of them named."""

from __future__ import annotations

import re

import pytest

from .launchers import MPIS, run

FIRST = "rank 1: all_reduce of 4 f32 by add, schedule 0000000000000000: first\n"
OTHERS = {
    "dtype": "rank 0: all_reduce of 4 f64 by add, schedule 0000000000000000: other\n",
    "size": "rank 0: all_reduce of 3 f32 by add, schedule 0000000000000000: other\n",
    "reduction": "rank 0: all_reduce of 4 f32 by maximum, schedule 0000000000000000: other\n",
    "kind": "rank 0: collective_broadcast of 4 f32 from member 1, schedule 0000000000000000: other\n",
    "agreement": "rank 0: agreement on the collectives of train, schedule 0000000000000007\n",
}


@pytest.mark.parametrize(
    ("name", "what"),
    [*((name, what) for name in MPIS for what in ("dtype", "size")), *(("mpich", w) for w in list(OTHERS)[2:])],
)
def test_another_order_is_an_error_with_both_collectives(name: str, what: str) -> None:
    done = run(name, 2, ["order.py", what], {"MLC_COLLECTIVE_TIMEOUT": "30"})
    assert done.returncode != 0, done.stdout
    assert "of 2: the ranks have started different collectives" in done.stdout
    assert FIRST in done.stdout
    assert OTHERS[what] in done.stdout
    assert "was not stopped" not in done.stdout
    assert "was not done within" not in done.stdout


def test_groups_that_do_not_meet_are_not_compared() -> None:
    done = run("mpich", 4, ["order.py", "groups"], {"MLC_COLLECTIVE_TIMEOUT": "30"})
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("was not stopped") == 4


def test_members_of_a_group_are_compared() -> None:
    done = run("mpich", 4, ["order.py", "within a group"], {"MLC_COLLECTIVE_TIMEOUT": "30"})
    assert done.returncode != 0
    assert "  rank 1: all_reduce of 4 f32 by add, schedule 0000000000000000: pair\n" in done.stdout
    assert "  rank 3: all_reduce of 3 f32 by add, schedule 0000000000000000: pair\n" in done.stdout
    assert "rank 0 of 4: the ranks" not in done.stdout


@pytest.mark.parametrize(("name", "how"), [*((name, "called") for name in MPIS), ("mpich", "ahead")])
def test_known_steps_with_other_rows_are_an_error_with_both_shapes(name: str, how: str) -> None:
    done = run(name, 2, ["uneven.py", how], {"MLC_COLLECTIVE_TIMEOUT": "30"})
    assert done.returncode != 0, done.stdout
    assert done.stdout.count("equal rows are right") == 2
    assert "DistributedError" in done.stdout
    for rank, rows in ((0, 4), (1, 3)):
        assert re.search(rf"  rank {rank}: all_reduce .* called with x f32\[{rows}, 2\], w f32\[2\]", done.stdout)
    assert "was not stopped" not in done.stdout
