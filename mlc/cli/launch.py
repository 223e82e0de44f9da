"""`mlc launch`: a program on N processes under MPI's or Slurm's launcher."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command("launch", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("-n", "ranks", type=click.IntRange(1, 65536), required=True, help="How many processes.")
@click.option(
    "--mpi", metavar="NAME", help="mpich, openmpi, srun, or the path of an mpiexec (default: the first here)."
)
@click.option("--restarts", type=click.IntRange(0), default=0, help="How often to start again when a process is lost.")
@click.option(
    "--timeout", type=click.FloatRange(0, min_open=True), default=600.0, show_default=True,
    envvar="MLC_COLLECTIVE_TIMEOUT",
    help="Seconds that a process waits for another one. One that is stopped is given up a quarter of them earlier.",
)  # fmt: skip
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(ranks: int, mpi: str | None, restarts: int, timeout: float, path: Path, arguments: tuple[str, ...]) -> int:
    """Run the Python program PATH with its ARGUMENTS on N processes, as `mlc run` would on one.

    Every line that a process prints comes behind its rank. The exit code is that of the process that failed first:
    75 where one waited too long for another, 128 and the signal's number where one was killed. Then all others are
    ended, too. A program that keeps checkpoints (mlc.train.Checkpoints) goes on from the last one after a restart.
    """
    from mlc import launch

    program = [sys.executable, "-m", "mlc.launch.program", str(path), *arguments]
    return launch.Job(launch.find(mpi), program, ranks, restarts, timeout).run()
