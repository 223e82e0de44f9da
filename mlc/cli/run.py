"""`mlc run`: a program as `python` would run it, or an artifact's function or a dumped stage on arrays from files."""

from __future__ import annotations

from pathlib import Path

import click

from mlc.cli.program import execute, guarded
from mlc.errors import ArgumentError


@click.command("run", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--device", metavar="NAME", help="gpu:0: run there what says nothing else.")
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(path: Path, arguments: tuple[str, ...], device: str | None) -> int:
    """Run PATH: a Python program with its ARGUMENTS, or an artifact (.mlc) or stage with the options below.

    A stage is a graph (.graph) or kernels (.kernels, through the plan beside them) as MLC_DUMP writes them.

    \b
    Options of artifacts and stages:
      --feed NAME=@FILE.npy | NAME=@FILE.npz | NAME=JSON   one input; repeat for more
      --function NAME       the function to run (default: the only one)
      --fetch NAME          an output to keep (default: all); repeat for more
      -o, --output FILE     write the outputs: .npz, or .npy for one output
      --expect NAME=@FILE   compare an output; exit 4 where it differs (--rtol, --atol)
      --check-nan           exit 4 where an output holds a NaN
      --random SEED         fill what is not fed with random numbers
      --interpret           do not compile a stage: NumPy for a graph, the interpreter for kernels
      --threads N           how many threads
      --target NAME         x86-64-v3 or x86-64-v4 instead of the best
      --device NAME         gpu:0: run on that GPU (artifacts compiled with --gpu)
      --json                print the outputs as JSON
    """
    if device is not None and path.suffix in (".py", ".mlc"):
        _check(device)
    if path.suffix == ".py":
        return guarded(lambda: _execute(path, arguments, device))[0]
    from mlc.cli.run_artifact import run_artifact

    words = [str(path), *arguments, *(["--device", device] if device else [])]
    status = run_artifact.main(args=words, prog_name="mlc run", standalone_mode=False)
    assert isinstance(status, int)
    return status


def _execute(path: Path, arguments: tuple[str, ...], device: str | None) -> None:
    if device is None:
        execute(path, arguments)
        return
    from mlc.tracing import device as calls_on

    with calls_on(device):
        execute(path, arguments)


def _check(device: str) -> None:
    """What is no device, and a GPU that is not there, are said before the program begins."""
    from mlc.devices import placed

    try:
        placed(device, "--device")
    except ArgumentError as error:
        raise click.UsageError(str(error)) from None
