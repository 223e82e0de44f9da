"""`mlc data`: the data sets that models use, and fetching those that the package does not carry."""

from __future__ import annotations

import click

from mlc.cli.output import print_json, print_pairs


@click.group("data")
def command() -> None:
    """List and fetch data sets."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_sets(as_json: bool) -> None:
    """List the data sets, and which of them are here."""
    from mlc.data import fetching

    if as_json:
        print_json([{"name": name, "state": state} for name, state in fetching.catalog().items()])
    else:
        print_pairs(fetching.catalog())


@command.command("fetch")
@click.argument("name")
@click.option("--force", is_flag=True, help="Fetch it again.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def fetch(name: str, force: bool, as_json: bool) -> None:
    """Fetch the data set NAME and compare its checksums."""
    from mlc.data import fetching

    if name not in fetching.catalog():
        raise click.UsageError(f"no data set {name!r}; there are {', '.join(fetching.catalog())}")
    folder = fetching.fetch(name, force=force)
    if as_json:
        print_json({"name": name, "path": str(folder)})
    else:
        click.echo(f"{name}: {folder}")
