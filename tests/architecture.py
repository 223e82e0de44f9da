"""Print one example after every stage into ARCHITECTURE.md, between its markers: ``python -m tests.architecture``.

With ``--check`` nothing is written and the exit code says whether the page is up to date.
"""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import mlc
import mlc.numpy as mnp
from mlc.codegen import emit_llvm
from mlc.compiler import Options, compile_function, kernels_text, named_target

PAGE = Path(__file__).resolve().parent.parent / "ARCHITECTURE.md"
LINES = 44  # of one stage that are shown


def example(x, w, b):  # type: ignore[no-untyped-def]
    return mnp.tanh(x @ w + b)


def stages() -> dict[str, str]:
    """The text of the example after every stage, for x86-64-v3 whatever machine this is."""
    batch = mlc.dim("batch", 1, 64)
    specs = [mlc.ShapeDtype(shape, "f32") for shape in ((batch, 3), (3, 8), (8,))]
    lowered = mlc.jit(example).lower(*specs)
    options = replace(Options.from_environment(), target=named_target("x86-64-v3"), dump=None)
    compiled = compile_function(lowered.graph, options, result_names=["out"])
    return {
        "trace": str(compiled.graph),
        "optimize": str(compiled.optimized),
        "schedule": kernels_text(compiled.kernels),
        "plan": str(compiled.plan),
        "generate": emit_llvm(compiled.lowered, options.target),
    }


def page(text: str) -> str:
    """``text`` with every marked block replaced by the stage as it is now."""
    for name, body in stages().items():
        lines = body.strip().splitlines()
        if len(lines) > LINES:
            lines = [*lines[:LINES], f"... {len(lines) - LINES} more lines"]
        block = "\n".join(line.rstrip() for line in lines)
        pattern = re.compile(rf"(<!-- stage: {name} -->\n```\n).*?(\n```)", re.DOTALL)
        text, count = pattern.subn(lambda m, block=block: m[1] + block + m[2], text)
        if count != 1:
            raise SystemExit(f"{PAGE.name} has {count} blocks for the stage {name}, not one")
    return text


def main() -> int:
    before = PAGE.read_text(encoding="utf-8")
    after = page(before)
    if "--check" in sys.argv:
        return int(before != after)
    PAGE.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
