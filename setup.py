"""Builds mlc: maps the top-level folders into the package and compiles the C runtime with its Python binding.

The runtime is compiled once, to one relocatable object that needs libc only. The binding links it, and the wheel ships
it, so that an ahead-of-time library can be linked without a C compiler and runs the very code that Python runs.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
MAPPED = ("passes", "codegen", "runtime")  # folders imported as mlc.passes, ...
STRICT = ["-std=c11", "-O2", "-g", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror"]
RUNTIME_OBJECT = "mlc_runtime.o"


def runtime_sources() -> list[str]:
    return sorted(str(p.relative_to(ROOT)) for p in (ROOT / "runtime").glob("*.c"))


def runtime_headers() -> list[str]:
    return sorted(str(p.relative_to(ROOT)) for p in (ROOT / "runtime").glob("*.h"))


def binding_sources() -> list[str]:
    return sorted(str(p.relative_to(ROOT)) for p in (ROOT / "runtime" / "binding").glob("*.c"))


def packages() -> list[str]:
    """Every package of mlc: those below mlc/, and the mapped folders with all that is below them."""
    found = find_packages(str(ROOT), include=["mlc", "mlc.*"])
    for folder in MAPPED:
        if (ROOT / folder / "__init__.py").exists():
            found.append(f"mlc.{folder}")
            found += [f"mlc.{folder}.{name}" for name in find_packages(str(ROOT / folder))]
    return found


class BuildRuntime(build_ext):
    """Compiles runtime/*.c to one relocatable object, which has no state of its own, and links it to the extensions."""

    def build_extensions(self) -> None:
        target = self.runtime_object_path()
        target.parent.mkdir(parents=True, exist_ok=True)
        objects = self.compiler.compile(
            runtime_sources(), output_dir=self.build_temp, extra_postargs=STRICT, depends=runtime_headers()
        )
        command = [self.compiler.compiler_so[0], "-r", "-nostdlib", "-o", str(target), *objects]
        subprocess.run(command, check=True)
        for extension in self.extensions:
            extension.extra_objects = [str(target)]
            extension.depends = [*extension.depends, str(target)]
        super().build_extensions()

    def runtime_object_path(self) -> Path:
        """Beside the Python files: in the source tree for an editable install, else in the tree of the wheel."""
        if self.inplace or getattr(self, "editable_mode", False):
            return ROOT / "runtime" / RUNTIME_OBJECT
        return Path(self.build_lib).resolve() / "mlc" / "runtime" / RUNTIME_OBJECT


ARRAY = Extension(
    "mlc.runtime._array",
    sources=binding_sources(),
    include_dirs=["runtime", "runtime/binding"],
    depends=["runtime/binding/binding.h"],
    define_macros=[("Py_LIMITED_API", "0x030B0000")],
    extra_compile_args=STRICT,
    py_limited_api=True,
)

if sys.platform == "win32":
    raise SystemExit("mlc's runtime needs POSIX threads; Windows is not supported (WSL is)")

setup(
    packages=packages(),
    package_dir={"mlc": "mlc", **{f"mlc.{folder}": folder for folder in MAPPED}},
    package_data={"mlc": ["py.typed", "data/*"], "mlc.runtime": ["*.c", "*.h", "*.pyi"]},
    ext_modules=[ARRAY],
    cffi_modules=["runtime/binding/build_rt.py:ffi"],
    cmdclass={"build_ext": BuildRuntime},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
