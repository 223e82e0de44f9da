"""A training run under each MPI that is here, against the ranks simulated in this process: bit for bit."""

from __future__ import annotations

import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlc import tree
from mlc.distributed.simulation import Simulation
from mlc.ir.collective import ORDERS, fold_ranks

from ..mpi.launchers import MPIS, run
from .programs import training

PROGRAM = Path(__file__).parent / "programs" / "training.py"
STEPS = 30


def launched(name: str, ranks: int, folder: Path) -> list[dict[str, Any]]:
    """What each rank saved."""
    done = run(name, ranks, [PROGRAM, folder / "run", str(STEPS)])
    assert done.returncode == 0, done.stdout
    return [dict(np.load(folder / f"run-{rank}.npz")) for rank in range(ranks)]


@lru_cache
def simulated(ranks: int, order: str) -> dict[str, Any]:
    """The parameters and losses of the first rank, from a simulation of all."""
    params = training.init()
    step = Simulation(training.step, ranks, order=order)
    of_ranks = [(params, training.optimizer.init(params))] * ranks
    losses = []
    for count in range(STEPS):
        x, y = training.batch(count)
        cut = [(training.rows(x, r, ranks), training.rows(y, r, ranks)) for r in range(ranks)]
        found = step([(*state, *own, training.key_of(count)) for state, own in zip(of_ranks, cut, strict=True)])
        of_ranks = [(p, s) for p, s, _ in found]
        losses.append(found[0][2])
    return {**of_ranks[0][0], "losses": np.stack(losses)}


@pytest.fixture(scope="module", params=[(m, n) for m in MPIS for n in (2, 4)], ids=lambda p: f"{p[0]}-{p[1]}")
def outcome(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    name, ranks = request.param
    return launched(name, ranks, tmp_path_factory.mktemp(name))


def test_the_same_bits_on_every_rank(outcome: list[dict[str, Any]]) -> None:
    for other in outcome[1:]:
        assert {k: v.tobytes() for k, v in other.items()} == {k: v.tobytes() for k, v in outcome[0].items()}


def test_integers_are_exactly_those_of_one_process(outcome: list[dict[str, Any]]) -> None:
    w, x, y = training.integers()
    assert outcome[0]["exact"].tobytes() == (w - x.T @ (x @ w - y)).tobytes()


def test_the_orders_of_this_library(outcome: list[dict[str, Any]]) -> None:
    """Every size is folded in one of the orders that the simulation has, so that it can be compared bit for bit."""
    for elements in training.PROBES:
        assert orders_of(outcome, f"probe{elements}", elements), f"{elements} elements: in none of {', '.join(ORDERS)}"


def orders_of(outcome: list[dict[str, Any]], name: str, elements: int) -> list[str]:
    values = [training.probe(elements, rank) for rank in range(len(outcome))]
    return [o for o in ORDERS if fold_ranks(values, "add", o).tobytes() == outcome[0][name].tobytes()]


def test_training_is_the_simulation_bit_for_bit(outcome: list[dict[str, Any]]) -> None:
    """In the order that the library takes for as many elements as the gradients are."""
    ranks = len(outcome)
    (order, *_) = orders_of(outcome, "probe4000", 4000)
    want = simulated(ranks, order if ranks > 2 else "linear")
    assert {k: outcome[0][k].tobytes() for k in want} == {k: v.tobytes() for k, v in want.items()}
    assert want["losses"][-10:].mean() < want["losses"][:10].mean()  # it learns


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same program without a launcher."""
    out = tmp_path_factory.mktemp("alone") / "run"
    subprocess.run([sys.executable, str(PROGRAM), str(out), str(STEPS)], check=True, timeout=120)
    return dict(np.load(f"{out}-0.npz"))


def test_close_to_one_process(alone: dict[str, Any], outcome: list[dict[str, Any]]) -> None:
    for name in training.init():
        np.testing.assert_allclose(outcome[0][name], alone[name], rtol=1e-4, atol=2e-5)


def test_leaves_of_a_simulation() -> None:
    params = training.init()
    step = Simulation(training.step, 2)
    x, y = training.batch(0)
    own = [(params, training.optimizer.init(params), x[i::2], y[i::2], training.key_of(0)) for i in range(2)]
    found = step(own)
    assert tree.structure(found[0][0]) == tree.structure(params)


def test_ranks_with_different_numbers_of_rows_are_refused() -> None:
    done = run("mpich", 2, [PROGRAM.with_name("uneven.py")])
    assert done.returncode == 0, done.stdout
