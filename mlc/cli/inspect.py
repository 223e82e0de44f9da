"""`mlc inspect`: what an artifact holds, read without loading its library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mlc.cli.output import human_bytes, print_json, print_pairs


@click.command("inspect")
@click.argument("artifact", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--plan", "plan", metavar="FUNCTION", help="Print the Plan of a function instead.")
@click.option("--kernels", "kernels", metavar="FUNCTION", help="Print the kernels of a function instead.")
@click.option("--header", "header", is_flag=True, help="Print the C header instead.")
@click.option("--target", help="The target whose Plan or kernels are printed (default: the last).")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as JSON.")
def command(
    artifact: Path, plan: str | None, kernels: str | None, header: bool, target: str | None, as_json: bool
) -> None:
    """Show the functions, targets, kernels, sizes, weights and the compiler of ARTIFACT; every checksum is compared."""
    if sum((plan is not None, kernels is not None, header, as_json)) > 1:
        raise click.UsageError("one of --plan, --kernels, --header and --json at a time")
    if target is not None and plan is None and kernels is None:
        raise click.UsageError("--target goes with --plan or --kernels")
    from mlc.artifact.package import Package

    package = Package(artifact)
    manifest = package.manifest
    if header:
        click.echo(bytes(package.member(manifest["header"])).decode(), nl=False)
    elif plan is not None or kernels is not None:
        click.echo(_text(package, plan or kernels or "", "plan" if plan is not None else "kernels", target))
    else:
        for name in manifest["members"]:
            package.member(name)
        if as_json:
            print_json(manifest)
        else:
            _print(artifact, manifest)


def _text(package: Any, function: str, ending: str, target: str | None) -> str:
    """The Plan or the kernels of a function as text."""
    found = [f for f in package.manifest["functions"] if f["name"] == function]
    if not found:
        names = ", ".join(f["name"] for f in package.manifest["functions"])
        raise click.UsageError(f"no function {function!r}; there are {names}")
    targets = list(found[0]["variants"])
    if target is not None and target not in targets:
        raise click.UsageError(f"no target {target!r}; there are {', '.join(targets)}")
    return bytes(package.member(f"text/{function}.{target or targets[-1]}.{ending}")).decode()


def _print(path: Path, manifest: dict[str, Any]) -> None:
    compiler, members = manifest["compiler"], manifest["members"]
    sizes = {part: human_bytes(members[manifest[part]]["bytes"]) for part in ("library", "weights")}
    flags = ", ".join(f"{k}={v if isinstance(v, str) else ','.join(map(str, v))}" for k, v in compiler["flags"].items())
    source = manifest.get("source", {})
    print_pairs(
        {
            "artifact": f"{path}, {human_bytes(path.stat().st_size)}, format {manifest['format']}",
            "source": f"{source.get('name')}, sha256 {str(source.get('sha256'))[:16]}",
            "compiler": f"mlc {compiler.get('mlc')}, llvmlite {compiler.get('llvmlite')}; {flags}",
            "platform": manifest["platform"],
            "library": f"{manifest['library']}, {sizes['library']}",
            "weights": f"{len(manifest['constants'])} arrays, {sizes['weights']}",
        }
    )
    for constant in manifest["constants"]:
        shape = ",".join(map(str, constant["shape"]))
        click.echo(f"  {constant['name']}: {constant['dtype']}[{shape}], {human_bytes(constant['bytes'])}")
    for function in manifest["functions"]:
        click.echo(f"\n{function.get('text', function['name'])}")
        for target, variant in function["variants"].items():
            kernels = variant["kernels"]
            click.echo(
                f"  {target}: {len(kernels)} kernels, {variant['steps']} steps, arena "
                f"{human_bytes(variant['arena_bytes'])}, scratch {human_bytes(variant['scratch_bytes'])} a thread"
            )
            click.echo(f"    {', '.join(kernels)}")
