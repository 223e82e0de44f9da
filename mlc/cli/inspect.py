"""`mlc inspect`: what an artifact holds, read without loading its library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mlc.cli.output import human_bytes, print_json, print_pairs
from mlc.errors import ArtifactError


@click.command("inspect")
@click.argument("artifact", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--plan", "plan", metavar="FUNCTION", help="Print the Plan of a function instead.")
@click.option("--kernels", "kernels", metavar="FUNCTION", help="Print the kernels of a function instead.")
@click.option("--memory", "memory", metavar="FUNCTION", help="Print the buffers of a function's arena instead.")
@click.option("--cost", "cost", metavar="FUNCTION", help="Print a function's cost by scope instead.")
@click.option("--header", "header", is_flag=True, help="Print the C header instead.")
@click.option("--target", help="The target whose Plan or kernels are printed (default: the last).")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as JSON.")
def command(
    artifact: Path,
    plan: str | None,
    kernels: str | None,
    memory: str | None,
    cost: str | None,
    header: bool,
    target: str | None,
    as_json: bool,
) -> None:
    """Show the functions, targets, kernels, sizes, weights and the compiler of ARTIFACT; every checksum is compared."""
    if artifact.suffix == ".py":
        raise click.UsageError(f"{artifact} is a program; mlc compile {artifact} makes an artifact of what it exports")
    views = {"plan": plan, "kernels": kernels, "memory": memory, "cost": cost}
    chosen = [(view, function) for view, function in views.items() if function is not None]
    if len(chosen) + header + as_json > 1:
        raise click.UsageError("one of --plan, --kernels, --memory, --cost, --header and --json at a time")
    if target is not None and (not chosen or chosen[0][0] == "cost"):
        raise click.UsageError("--target goes with --plan, --kernels or --memory")
    from mlc.artifact.package import Package

    package = Package(artifact)
    manifest = package.manifest
    if header:
        click.echo(bytes(package.member(manifest["header"])).decode(), nl=False)
    elif chosen:
        ((view, name),) = chosen
        record, variant = _function(package, name, target)
        if view == "memory":
            _print_memory(record["variants"][variant])
        elif view == "cost":
            _print_cost(record)
        else:
            click.echo(bytes(package.member(f"text/{name}.{variant}.{view}")).decode())
    else:
        for name in manifest["members"]:
            package.member(name)
        if as_json:
            print_json(manifest)
        else:
            _print(artifact, manifest)


def _function(package: Any, function: str, target: str | None) -> tuple[dict[str, Any], str]:
    """What the manifest says about a function, and the name of the target that is looked at."""
    found = [f for f in package.manifest["functions"] if f["name"] == function]
    if not found:
        names = ", ".join(f["name"] for f in package.manifest["functions"])
        raise click.UsageError(f"no function {function!r}; there are {names}")
    targets = list(found[0]["variants"])
    if target is not None and target not in targets:
        raise click.UsageError(f"no target {target!r}; there are {', '.join(targets)}")
    return found[0], target or targets[-1]


def _print_memory(variant: dict[str, Any]) -> None:
    """The arena, and every buffer in it with the steps of its life."""
    arena, peak = variant["arena_bytes"], variant.get("peak_bytes", 0)
    click.echo(f"arena {human_bytes(arena)}, peak {human_bytes(peak)}, "
               f"scratch {human_bytes(variant['scratch_bytes'])} a thread")  # fmt: skip
    click.echo("    offset      bytes  steps      first written by")
    for b in variant.get("buffers", []):
        click.echo(f"{b['offset']:>10} {b['nbytes']:>10}  {b['first']:>4}..{b['last']:<4} {b['label']}")


def _print_cost(record: dict[str, Any]) -> None:
    """Operations and bytes by the user's scopes."""
    cost = record.get("cost")
    if not isinstance(cost, dict):
        raise ArtifactError(f"the artifact does not say what {record['name']} costs", hint="compile it again")
    click.echo("     flops  transcendentals       bytes  scope")
    for scope, own in [*cost["scopes"].items(), ("total", cost)]:
        click.echo(f"{own['flops']:>10} {own['transcendentals']:>16} {own['bytes accessed']:>11}  {scope or '(none)'}")


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
            kernels, peak = variant["kernels"], variant.get("peak_bytes", variant["arena_bytes"])
            click.echo(
                f"  {target}: {len(kernels)} kernels, {variant['steps']} steps, arena "
                f"{human_bytes(variant['arena_bytes'])} (peak {human_bytes(peak)}), "
                f"scratch {human_bytes(variant['scratch_bytes'])} a thread"
            )
            click.echo(f"    {', '.join(kernels)}")
        for target, variant in function.get("gpus", {}).items():
            code = "PTX and a cubin" if variant["cubin"] else "PTX"
            click.echo(
                f"  {target}: {len(variant['kernels'])} kernels, {variant['steps']} steps, arena "
                f"{human_bytes(variant['arena_bytes'])}; {code}"
            )
            click.echo(f"    {', '.join(variant['kernels'])}")
