"""The house rules: lint, strict types on the built tree, a light command line, and a README whose commands are run."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("numpy", "llvmlite", "networkx", "ml_dtypes", "rich", "safetensors", "cffi", "mlc.ir", "mlc.runtime")


def needs(module: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(module) is None
    return pytest.mark.skipif(missing, reason=f"{module} is not installed (pip install -e '.[test]')")


@needs("ruff")
def test_ruff_is_clean() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--no-cache", "."], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr


@needs("mypy")
def test_strict_types_on_the_built_tree(tmp_path: Path) -> None:
    """Type checkers do not follow the folder mapping of an editable install: check what the wheel would hold."""
    checkout = tmp_path / "checkout"
    ignore = shutil.ignore_patterns(".git", "build", "*.egg-info", "__pycache__", ".*_cache", "*.so", "*.o", ".venv")
    shutil.copytree(ROOT, checkout, ignore=ignore)
    build = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", "build/types"]
    done = subprocess.run(build, cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    cache = ROOT / ".mypy_cache" / "built"
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml")]
    command += ["--cache-dir", str(cache), "-p", "mlc"]
    done = subprocess.run(command, cwd=checkout / "build" / "types", capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_help_imports_nothing_heavy() -> None:
    """What keeps `mlc --help` within 150 ms; a time would depend on the machine."""
    program = (
        "import sys, json\nfrom mlc.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as e:\n    assert not e.code\n"
        "json.dump(sorted(sys.modules), sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert "compile" in done.stdout
    modules = set(json.loads(done.stderr))
    assert not modules.intersection(HEAVY)


def test_importing_mlc_is_light() -> None:
    program = "import mlc, sys, json; json.dump(sorted(sys.modules), sys.stdout)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert not {"llvmlite", "networkx", "ml_dtypes", "click", "rich"}.intersection(json.loads(done.stdout))


def test_ci_runs_what_the_readme_says() -> None:
    readme = (ROOT / "README.md").read_text()
    script = (ROOT / ".ci" / "run").read_text()
    for command in ("-m pytest -q -n auto", "install", "-e '.[test]'"):
        assert command in readme and command in script
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert "set -euo pipefail" in script
    assert (ROOT / "models" / "mnist_mlp.py").exists() and "models/mnist_mlp.py" in readme
