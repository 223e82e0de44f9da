"""The models under each MPI that is here, against all their ranks simulated in this process: bit for bit."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlc import distributed
from mlc.distributed.simulation import Simulation
from mlc.ir.collective import ORDERS, fold_ranks

from ..mpi.launchers import MPIS, run
from .programs import bits

PROGRAM = Path(__file__).parent / "programs" / "bits.py"
Saved = list[dict[str, Any]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path) -> dict[str, str]:
    """Where the runs find their data (none but the digits) and what was compiled before."""
    return {"MLC_DATA": str(tmp_path_factory.mktemp("place") / "none"), "MLC_CACHE": str(shared_cache)}


@pytest.fixture(scope="module", params=[(m, n) for m in MPIS for n in (2, 4)], ids=lambda p: f"{p[0]}-{p[1]}")
def outcome(
    request: pytest.FixtureRequest, place: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Saved:  # fmt: skip
    """What each rank has saved."""
    name, ranks = request.param
    folder = tmp_path_factory.mktemp(name)
    done = run(name, ranks, [PROGRAM, folder / "run"], place)
    assert done.returncode == 0, done.stdout
    return [dict(np.load(folder / f"run-{rank}.npz")) for rank in range(ranks)]


def test_the_same_bits_on_every_rank(outcome: Saved) -> None:
    for other in outcome[1:]:
        assert {k: v.tobytes() for k, v in other.items()} == {k: v.tobytes() for k, v in outcome[0].items()}


def test_integers_are_exactly_those_of_one_process(outcome: Saved) -> None:
    w, x, y = bits.integers()
    assert outcome[0]["exact"].tobytes() == (w - x.T @ (x @ w - y)).tobytes()


def orders(outcome: Saved, elements: int) -> list[str]:
    """The orders in which this library may have folded as many elements."""
    values = [bits.probe(elements, rank) for rank in range(len(outcome))]
    got = outcome[0][f"probe{elements}"].tobytes()
    return [o for o in ORDERS if fold_ranks(values, "add", o).tobytes() == got]


def test_the_orders_of_this_library(outcome: Saved) -> None:
    """Every size is folded in one of the orders that the simulation has."""
    for elements in bits.PROBES:
        assert orders(outcome, elements), f"{elements} elements: in none of {', '.join(ORDERS)}"


@pytest.mark.parametrize("name", bits.COMMANDS)
def test_a_model_is_the_simulation_bit_for_bit(
    name: str, outcome: Saved, place: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With sums in the order that the library takes for as many elements as the gradients are."""
    order, *_ = orders(outcome, bits.PROBES[-1])
    want = _simulated(name, len(outcome), order, place, monkeypatch)
    got = [outcome[0][f"{name}{i}"] for i in range(len(want))]
    assert [x.tobytes() for x in got] == [x.tobytes() for x in want]


def _simulated(
    name: str, ranks: int, order: str, place: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> list[Any]:  # fmt: skip
    """What the model ends with where its step is that of ``ranks`` simulated ranks."""
    real = distributed.data_parallel

    def data_parallel(**how: Any) -> Callable[..., Any]:
        return lambda function: _Whole(real(function, **how), how["batch_argnames"], ranks, order)

    monkeypatch.setattr(distributed, "data_parallel", data_parallel)
    for variable, value in place.items():
        monkeypatch.setitem(os.environ, variable, value)
    return bits.train(name)


class _Whole:
    """A step that is given the whole batch, and gives each simulated rank its rows."""

    def __init__(self, step: Any, batch: tuple[str, ...], ranks: int, order: str) -> None:
        self.names, self.batch, self.ranks = list(inspect.signature(step.parallel.function).parameters), batch, ranks
        self.simulation = Simulation(step, ranks, order=order)

    def __call__(self, *args: Any) -> Any:
        columns = [
            np.split(np.asarray(x), self.ranks) if name in self.batch else [x] * self.ranks
            for name, x in zip(self.names, args, strict=True)
        ]
        return self.simulation(list(zip(*columns, strict=True)))[0]


def test_ranks_with_different_numbers_of_rows_are_refused() -> None:
    done = run("mpich", 2, [PROGRAM.with_name("uneven.py")])
    assert done.returncode == 0, done.stdout
