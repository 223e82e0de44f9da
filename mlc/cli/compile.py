"""`mlc compile`: run a program, and compile what it exports into an artifact or a library."""

from __future__ import annotations

from pathlib import Path

import click

from mlc.cli.output import check_writable, human_bytes, print_json, progress
from mlc.cli.program import execute, guarded

TARGETS = ("x86-64-v3", "x86-64-v4")
ENDINGS = {"mlc": ".mlc", "so": ".so", "a": ".a"}


@click.command("compile")
@click.argument("program", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("arguments", nargs=-1)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="The file to write.")
@click.option("--emit", type=click.Choice(list(ENDINGS)), help="Artifact or plain library (default: by --output).")
@click.option("--target", "targets", multiple=True, type=click.Choice(TARGETS), help="Default: all of them.")
@click.option(
    "--gpu",
    "gpus",
    multiple=True,
    metavar="SM",
    help="GPUs to have code for too: sm_80, sm_90a, sm_100a; with -tf32 at the end, products of f32 in 19 bits.",
)
@click.option("--linker", type=click.Choice(["cc", "zig", "ld"]), help="Default: the first that is there.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
def command(
    program: Path,
    arguments: tuple[str, ...],
    output: Path | None,
    emit: str | None,
    targets: tuple[str, ...],
    gpus: tuple[str, ...],
    linker: str | None,
    as_json: bool,
) -> int:
    """Run PROGRAM (with its ARGUMENTS after --) and compile every function that it marks with mlc.export.

    The artifact holds a native library, its C header, weights and a manifest; --emit so or a gives the library and
    the header alone, with the weights inside.
    """
    kind = emit or _kind(output)
    path = output or Path(program.stem + ENDINGS[kind])
    check_writable(path)

    from mlc.artifact.building import Options, build, check, count_steps
    from mlc.artifact.exporting import recording
    from mlc.artifact.manifest import Source, hash_bytes

    chosen = tuple(dict.fromkeys(targets)) or TARGETS
    options = Options(kind, chosen, linker, tuple(dict.fromkeys(gpus)))
    check(options)
    source = Source(program.name, hash_bytes(program.read_bytes()))
    with recording() as exports:
        status, _ = guarded(lambda: execute(program, arguments), output_to_stderr=as_json)
    if status:
        return status
    with progress(count_steps(exports, options), quiet=as_json) as report:
        written = build(exports, path, options, source, report)
    files = [{"path": str(p), "bytes": p.stat().st_size} for p in written]
    if as_json:
        print_json({"files": files, "functions": [e.name for e in exports], "targets": [*chosen, *options.gpus]})
    else:
        names = ", ".join(e.name for e in exports)
        click.echo(f"{names}: " + ", ".join(f"{p} ({human_bytes(p.stat().st_size)})" for p in written))
    return 0


def _kind(output: Path | None) -> str:
    """What to emit by the ending of the file."""
    if output is None:
        return "mlc"
    for kind, ending in ENDINGS.items():
        if output.suffix == ending:
            return kind
    raise click.UsageError(f"{output}: an artifact ends with .mlc, a library with .so or .a; or say --emit")
