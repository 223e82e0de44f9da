"""`mlc run`: a program as `python` would run it, or an artifact's function or a dumped stage on arrays from files."""

from __future__ import annotations

from pathlib import Path

import click

from mlc.cli.program import execute, guarded


@click.command("run", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(path: Path, arguments: tuple[str, ...]) -> int:
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
      --json                print the outputs as JSON
    """
    if path.suffix == ".py":
        return guarded(lambda: execute(path, arguments))[0]
    from mlc.cli.run_artifact import run_artifact

    status = run_artifact.main(args=[str(path), *arguments], prog_name="mlc run", standalone_mode=False)
    assert isinstance(status, int)
    return status
