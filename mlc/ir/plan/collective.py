"""How much a collective step reads and writes."""

from __future__ import annotations

from mlc.ir.dims import Size

from .data import CollectiveStart


def block_counts(step: CollectiveStart) -> tuple[Size, Size]:
    """Elements that ``step`` reads at its source and writes at its destination."""
    whole = step.count * len(step.groups[0])
    if step.kind == "all_gather":
        return step.count, whole
    return (whole, step.count) if step.kind == "reduce_scatter" else (step.count, step.count)
