"""Which part may import which: the directions that keep the line straight, read from the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAPPED = ("passes", "codegen", "runtime")  # folders imported as mlc.passes, ...

# A package -> the mlc modules that files in it may import. The longest prefix counts.
ALLOWED = {
    "mlc.ir": ("mlc.errors", "mlc.ir"),
    "mlc.passes": ("mlc.errors", "mlc.ir", "mlc.passes"),
    "mlc.codegen": ("mlc.errors", "mlc.ir", "mlc.codegen", "mlc.runtime._array"),
    "mlc.runtime": ("mlc.errors", "mlc.ir", "mlc.runtime"),
}
# What models (complete programs) may not reach into.
PRIVATE = tuple(
    f"mlc.{name}"
    for name in ("ir", "passes", "codegen", "runtime", "compiler", "tracing", "transforms", "artifact", "cli", "array")
)
FRONT = tuple(f"mlc.{name}" for name in ("control", "tracing", "numpy", "nn", "optim", "transforms"))
BEHIND_FRONT = ("mlc.passes", "mlc.codegen", "mlc.runtime", "mlc.artifact", "mlc.cli")
PYTHON_IN_C = {"runtime/binding/binding.h"}
BOTH = "mlc.compiler"  # the one module that calls passes and codegen


def imported(source: str, module: str) -> Iterator[tuple[int, str]]:
    """The (line, dotted name) of every import in `source`, wherever it stands; relative ones made absolute."""
    package = module.split(".")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level] if node.level else []
            stem = ".".join(base + ([node.module] if node.module else []))
            yield node.lineno, stem
            yield from ((node.lineno, f"{stem}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
            constants = [a.value for a in node.args if isinstance(a, ast.Constant)]
            yield from ((node.lineno, name) for name in constants if isinstance(name, str))


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def violations(source: str, module: str) -> list[str]:
    """What `source`, imported as `module`, imports against the rules; one line each."""
    found = []
    names = list(imported(source, module))
    for line, name in names:
        if name.split(".")[0] in (*MAPPED, "models"):
            found.append(f"{module}:{line}: bare import of {name}; write mlc.{name}")
        for package, allowed in ALLOWED.items():
            # `from mlc.ir import x` yields mlc.ir and mlc.ir.x: the bare `mlc` of `from mlc import x` tells nothing.
            inside = within(module, package) and within(name, "mlc") and name != "mlc"
            if inside and not any(within(name, a) for a in allowed):
                found.append(f"{module}:{line}: {package} must not import {name}")
        if any(within(module, f) for f in FRONT) and any(within(name, b) for b in BEHIND_FRONT):
            found.append(f"{module}:{line}: the front end must not import {name}")
        if within(module, "models") and any(within(name, p) for p in PRIVATE):
            found.append(f"{module}:{line}: models use the public API only, not {name}")
    both = [any(within(name, p) for _, name in names) for p in ("mlc.passes", "mlc.codegen")]
    if all(both) and not within(module, BOTH):
        found.append(f"{module}: imports passes and codegen; only {BOTH} may")
    return found


def sources() -> Iterator[tuple[Path, str]]:
    """Every Python file of the project with the module name it has."""
    for folder in ("mlc", *MAPPED, "models"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            prefix = ("mlc",) if folder in MAPPED else ()
            yield path, ".".join(prefix + parts)


def test_directions() -> None:
    found = [v for path, module in sources() for v in violations(path.read_text(), module)]
    assert not found, "\n".join(found)


def test_sources_are_found() -> None:
    modules = {module for _, module in sources()}
    assert "mlc.errors" in modules and any(m.startswith("mlc.ir.") for m in modules)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("mlc.ir.graph.node", "from mlc.passes.simplify import simplify"),
        ("mlc.ir.graph.node", "from mlc import tracing"),
        ("mlc.passes.fuse", "def f():\n    from mlc.codegen import emit_llvm"),
        ("mlc.codegen.emit", "import mlc.passes"),
        ("mlc.codegen.emit", "from ..passes import fuse"),
        ("mlc.runtime.binding", "import mlc.numpy"),
        ("mlc.nn.losses", "from ..codegen import emit_llvm"),
        ("mlc.jit", "import mlc.passes\nimport mlc.codegen"),
        ("mlc.jit", "from passes import fuse"),
        ("mlc.jit", "import importlib\nimportlib.import_module('codegen.emit')"),
        ("models.mnist", "from mlc.ir import types"),
    ],
)
def test_violations_are_seen(module: str, source: str) -> None:
    assert violations(source, module)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("mlc.ir.graph.node", "from mlc.errors import MlcError\nfrom mlc.ir.types import F32"),
        ("mlc.passes.fuse", "from mlc.ir.graph import Graph\nfrom .simplify import simplify"),
        ("mlc.compiler", "from mlc.passes import fuse\nfrom mlc.codegen import emit_llvm"),
        ("models.mnist", "import mlc\nimport mlc.numpy as mnp\nfrom mlc import nn"),
    ],
)
def test_allowed_imports_pass(module: str, source: str) -> None:
    assert not violations(source, module)


def test_c_knows_no_python_but_for_the_binding() -> None:
    files = [p for ending in ("*.c", "*.h") for p in (ROOT / "runtime").rglob(ending)]
    knowing = {str(p.relative_to(ROOT)) for p in files if "Python.h" in p.read_text()}
    assert len(files) > 10 and knowing == PYTHON_IN_C
    users = {str(p.parent.relative_to(ROOT)) for p in files if '"binding.h"' in p.read_text()}
    assert users == {"runtime/binding"}


def test_only_the_driver_reads_flags() -> None:
    """The environment is read by the driver and the CLI; languages, passes and emitters are given what they need."""
    found = [
        f"{module}:{node.lineno}"
        for path, module in sources()
        if module.startswith(("mlc.ir", "mlc.passes", "mlc.codegen"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
    ]
    assert not found, found
