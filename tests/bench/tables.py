"""What the benchmark measured, as tables for people."""

from __future__ import annotations

from collections.abc import Mapping

from rich import box
from rich.console import Console
from rich.table import Table

from .parts import Report, losses_agree


def print_steps(steps: Mapping[str, Report]) -> None:
    """A row a column: least time of a step, that of mlc over the best peer's, and the same of compiling."""
    table = _table("training steps, one thread", "step", "column", "us", "of the best peer", "compile s", "of jax's")
    for step, columns in steps.items():
        for name, c in columns.items():
            peers = [p["step"] for n, p in columns.items() if n != "mlc"] if name == "mlc" else []
            jax = columns.get("jax") if name == "mlc" else None
            table.add_row(
                step,
                name,
                f"{c['step'] * 1e6:.1f}",
                f"{c['step'] / min(peers):.2f}x" if peers else "",
                f"{c['build']:.2f}",
                f"{c['build'] / jax['build']:.2f}x" if jax else "",
            )
    _print(table)
    for step, columns in steps.items():
        if not losses_agree(columns):
            losses = "; ".join(f"{name} {c['losses']}" for name, c in columns.items())
            print(f"{step}: WRONG, the losses differ: {losses}")


def print_warm(warm: Report) -> None:
    print(
        f"first result of {warm['step']} after the imports: {warm['warm'] * 1e3:.0f} ms from the cache on disk "
        f"({warm['warm processor'] * 1e3:.0f} ms of the processor), {warm['cold'] * 1e3:.0f} ms without"
    )


def print_calls(calls: Report) -> None:
    print(f"a + b on 4 floats through jit: {calls['dispatch'] * 1e6:.2f} us")
    symbolic = calls["symbolic"]
    sizes = list(next(iter(symbolic.values())))
    table = _table("compiled for batch in 1..64, over the exact batch", "forward pass", *sizes)
    for name, ratios in symbolic.items():
        table.add_row(name, *(f"{ratios[n]:.2f}x" for n in sizes))
    _print(table)


def print_matmul(found: Report) -> None:
    if "squares" in found:
        shares = found["squares"]["shares"]
        table = _table(f"f32 products of {found['squares']['peak']:.1f} GFLOP/s (multiply-add peak)", *shares)
        table.add_row(*(f"{100 * share:.0f}%" for share in shares.values()))
        _print(table)
    if "random" in found:
        r = found["random"]
        worst = f"{100 * r['worst']:.0f}% ({'x'.join(map(str, r['worst shape']))})"
        mean = f"{100 * r['geometric mean']:.0f}%"
        print(f"{r['count']} random products of {r['peak']:.1f} GFLOP/s: geometric mean {mean}, worst {worst}")


def print_collectives(found: Report) -> None:
    """A row a size: the library's own time, the step's, and what the step adds."""
    for name, sizes in found.items():
        table = _table(
            f"all-reduce of two ranks, f32, {name}", "bytes", "library us", "step us", "adds us", "step/library"
        )
        for size, times in sizes.items():
            raw, step = times["raw"] * 1e6, times["step"] * 1e6
            table.add_row(size, f"{raw:.1f}", f"{step:.1f}", f"{step - raw:.1f}", f"{step / raw:.2f}x")
        _print(table)


def print_overlap(found: Report) -> None:
    if found:
        one, other, both = (found[k] * 1e3 for k in ("communication", "compute", "both"))
        print(f"all-reduce of {found['bytes'] >> 20} MB between two hosts over 1 Gbit/s: {one:.0f} ms")
        print(f"{found['products']} products: {other:.0f} ms; both: {both:.0f} ms")
        print(f"hidden of the shorter: {100 * found['hidden']:.0f}%")


def _table(title: str, *columns: str) -> Table:
    print(title)
    table = Table(box=box.SIMPLE_HEAD)
    for name in columns:
        table.add_column(name, justify="left" if name in ("step", "column", "forward pass") else "right")
    return table


def _print(table: Table) -> None:
    Console(highlight=False).print(table)
