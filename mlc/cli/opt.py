"""`mlc opt`: a stage read back: a graph or kernels through named passes, or as a later stage."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlc.cli.output import print_json
from mlc.errors import ArgumentError

if TYPE_CHECKING:
    from mlc.compiler import Options

LATER = ("kernels", "lowered", "plan", "llvm", "asm")


@click.command("opt")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=False)
@click.option("--passes", metavar="A,B", help="These passes, in this order; none leaves it as it is.")
@click.option("--until", metavar="A", help="The target's passes up to this one (default: all of them).")
@click.option("--skip", metavar="A,B", default="", help="Leave these out.")
@click.option("--target", help="A target instead of this machine.")
@click.option("--verify", is_flag=True, help="Verify after every pass.")
@click.option("--locations", is_flag=True, help="Print the user's lines behind the nodes of a graph.")
@click.option("--emit", type=click.Choice(LATER), help="Print this later stage instead.")
@click.option("--list", "listing", is_flag=True, help="Print the passes of the target.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: the text with what it is, or the list.")
def command(
    file: Path | None,
    passes: str | None,
    until: str | None,
    skip: str,
    target: str | None,
    verify: bool,
    locations: bool,
    emit: str | None,
    listing: bool,
    as_json: bool,
) -> None:
    """Print FILE, a stage as MLC_DUMP writes it, after passes of the target's pipeline or as a later stage.

    Graphs take graph passes, kernels take kernel passes; plans, LLVM IR and assembly are checked.
    """
    if listing == (file is not None) or (passes is not None and until is not None):
        raise click.UsageError("it is mlc opt FILE with --passes or --until, or mlc opt --list")
    from mlc.compiler import Options, named_target, skipped

    try:
        left_out = skipped(skip, "--skip")
    except ArgumentError as error:
        raise click.UsageError(str(error)) from error
    options = replace(Options.from_environment(), skip=left_out, dump=None)
    if verify:
        options = replace(options, verify=True)
    if target is not None:
        options = replace(options, target=named_target(target))
    if file is None:
        _list(options, as_json)
        return
    from mlc.dump import kind_of

    kind = kind_of(file)
    if locations and kind != "graph":
        raise click.UsageError(f"--locations goes with a graph, which {file} is not")
    if kind not in ("graph", "kernels") and (passes or until):
        raise click.UsageError(f"passes take a graph or kernels, which {file} is not")
    if kind == "graph":
        text = _graph(file, options, passes, until, locations, emit)
    elif kind == "kernels":
        text = _kernels(file, options, passes, until, emit)
    else:
        text = _checked(file, kind, options, emit)
    if as_json:
        print_json({"file": str(file), "stage": emit or kind, "target": options.target.name, "text": text})
    else:
        click.echo(text.rstrip("\n"))


def _graph(
    file: Path, options: Options, passes: str | None, until: str | None, locations: bool, emit: str | None
) -> str:
    from mlc.compiler import assembly_of, compile_function, kernels_text
    from mlc.dump import read_graph
    from mlc.failures import reported
    from mlc.ir.graph.text import print_graph
    from mlc.passes.runner import PIPELINES, named_passes, on_machine, run_passes

    names = _chosen([p.name for p in PIPELINES[options.target.name]], passes, until)
    pipeline = on_machine(named_passes(names, options.target), options.machine)
    graph = read_graph(file)
    if emit is None:
        with reported("optimize", graph):
            return print_graph(run_passes(graph, pipeline, verify=options.verify, skip=options.skip)[0], locations)
    compiled = compile_function(graph, options, pipeline=pipeline)
    return {
        "kernels": lambda: kernels_text(compiled.kernels),
        "lowered": lambda: kernels_text(compiled.lowered),
        "plan": lambda: str(compiled.plan),
        "llvm": lambda: compiled.llvm,
        "asm": lambda: assembly_of(compiled.llvm, options),
    }[emit]().rstrip("\n") + "\n"


def _kernels(file: Path, options: Options, passes: str | None, until: str | None, emit: str | None) -> str:
    from mlc.compiler import assembly_of, kernels_text, llvm_of
    from mlc.dump import read_kernels
    from mlc.ir.kernel import verify_kernel
    from mlc.passes.kernels import KERNEL_PIPELINE, named_kernel_passes

    chosen = named_kernel_passes(_chosen([p.name for p in KERNEL_PIPELINE], passes, until))
    kernels = list(read_kernels(file))
    for kernel_pass in chosen:
        if kernel_pass.name not in options.skip or kernel_pass.required:
            kernels = [kernel_pass.run(k, options.target) for k in kernels]
            for kernel in kernels if options.verify else ():
                verify_kernel(kernel)
    return _emitted(file, emit, {
        None: lambda: kernels_text(kernels),
        "llvm": lambda: llvm_of(kernels, options),
        "asm": lambda: assembly_of(llvm_of(kernels, options), options),
    })  # fmt: skip


def _checked(file: Path, kind: str, options: Options, emit: str | None) -> str:
    """A plan, LLVM IR or assembly as it is, once it is known to be one; LLVM IR as assembly too."""
    from mlc.cli.stage import read_llvm
    from mlc.compiler import assembled, assembly_of
    from mlc.dump import read_plan, read_text

    if kind == "plan":
        plan, _ = read_plan(file)
        return _emitted(file, emit, {None: lambda: str(plan)})
    if kind == "llvm":
        llvm = read_llvm(file)
        return _emitted(file, emit, {None: lambda: llvm, "asm": lambda: assembly_of(llvm, options)})
    text = read_text(file)
    assembled(text, options)
    return _emitted(file, emit, {None: lambda: text})


def _emitted(file: Path, emit: str | None, stages: Mapping[str | None, Callable[[], str]]) -> str:
    if emit not in stages:
        there = ", ".join(s for s in stages if s) or "nothing"
        raise click.UsageError(f"--emit {emit}: of {file} there is {there} to emit")
    return stages[emit]()


def _chosen(every: list[str], passes: str | None, until: str | None) -> list[str]:
    """The names of the passes to run."""
    chosen = [] if passes == "none" else list(filter(None, (passes or "").split(",")))
    for option, name in [("--until", until)] * (until is not None) + [("--passes", name) for name in chosen]:
        if name not in every:
            raise click.UsageError(f"{option}: there is no pass {name!r}; there are {', '.join(every)}")
    if passes is not None:
        return chosen
    if until is None:
        return every
    return every[: every.index(until) + 1]


def _list(options: Options, as_json: bool) -> None:
    from mlc.passes.kernels import KERNEL_PIPELINE
    from mlc.passes.runner import PIPELINES

    graph = [(p.name, p.required, p.run.__doc__ or _of_module(p.run)) for p in PIPELINES[options.target.name]]
    kernel = [(p.name, p.required, _of_module(p.function)) for p in KERNEL_PIPELINE]
    if as_json:
        lists = {
            title: [{"name": name, "required": required, "about": _first(about)} for name, required, about in passes]
            for title, passes in (("graph", graph), ("kernel", kernel))
        }
        print_json({"target": options.target.name, **lists})
        return
    for title, passes in ((f"graph passes of {options.target.name}", graph), ("kernel passes", kernel)):
        click.echo(f"{title}:")
        for name, required, about in passes:
            click.echo(f"  {name:<20} {'required' if required else 'optional':<9} {_first(about)}".rstrip())


def _of_module(run: Callable[..., object]) -> str:
    return sys.modules[run.__module__].__doc__ or ""


def _first(text: str) -> str:
    return text.strip().split("\n")[0]
