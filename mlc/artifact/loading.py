"""`mlc.load`: an artifact as callable functions, without tracing and without LLVM."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlc.artifact import structure
from mlc.errors import ArgumentError, ArtifactError, MlcError, TargetError, notice

if TYPE_CHECKING:
    from mlc.ir.plan import Plan

_LEVELS = {"x86-64-v3": 3, "x86-64-v4": 4}


class ArtifactFunction:
    """One function of an artifact: called with its arguments by position or name, as the program's own was.

    ``target`` is the one that runs; ``str(function)`` is its signature.
    """

    def __init__(self, record: Mapping[str, Any], target: str, run: Any, plan: bytes) -> None:
        self.name: str = record["name"]
        self.target = target
        self.inputs: list[dict[str, Any]] = record["inputs"]
        self.outputs: list[dict[str, Any]] = record["outputs"]
        self.symbols = [(s["name"], s["lower"], s["upper"]) for s in record["symbols"]]
        self._text: str = str(record.get("text", self.name))
        self._arguments: dict[str, Any] = record["arguments"]
        self._result: Any = record["result"]
        self._run = run
        self._plan = plan

    @property
    def executable(self) -> Any:
        """What the runtime calls, with flat leaves."""
        return self._run

    @property
    def plan(self) -> Plan:
        """The steps that a call takes."""
        from mlc.ir.plan import decode

        return decode(self._plan)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The result tree with mlc arrays as leaves. ArgumentError for arguments that do not fit the signature."""
        leaves: dict[int, object] = {}
        for name, value in self._bind(args, kwargs).items():
            structure.flatten(self._arguments[name], value, name, leaves)
        return structure.unflatten(self._result, self.run_flat([leaves[i] for i in range(len(leaves))]))

    def run_flat(self, leaves: list[Any]) -> list[Any]:
        """The outputs in order from the inputs in order."""
        outputs: list[Any] = self._run(leaves)
        return outputs

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"<{self._text} for {self.target}>"

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        names = list(self._arguments)
        if len(args) > len(names):
            raise ArgumentError(f"{self.name} takes {len(names)} arguments, got {len(args)}", hint=f"it is {self}")
        bound = dict(zip(names, args, strict=False))
        for name, value in kwargs.items():
            if name not in self._arguments or name in bound:
                what = "got twice" if name in bound else "not an argument"
                raise ArgumentError(f"{self.name}: {name!r} is {what}", hint=f"it is {self}")
            bound[name] = value
        missing = [name for name in names if name not in bound]
        if missing:
            raise ArgumentError(f"{self.name}: {', '.join(map(repr, missing))} missing", hint=f"it is {self}")
        return bound


class Artifact:
    """A loaded artifact: its functions as attributes and by name, its manifest as it was written."""

    def __init__(self, path: Path, manifest: dict[str, Any], functions: dict[str, ArtifactFunction]) -> None:
        self.path = path
        self.manifest = manifest
        self.functions: Mapping[str, ArtifactFunction] = functions

    def __getitem__(self, name: str) -> ArtifactFunction:
        if name not in self.functions:
            raise ArtifactError(f"{self.path} has no function {name!r}", hint=f"it has {', '.join(self.functions)}")
        return self.functions[name]

    def __getattr__(self, name: str) -> ArtifactFunction:
        functions = self.__dict__.get("functions", {})
        if name not in functions:
            raise AttributeError(f"the artifact has no function {name!r}; it has {', '.join(functions)}")
        function: ArtifactFunction = functions[name]
        return function

    def __iter__(self) -> Iterator[str]:
        return iter(self.functions)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.functions]

    def __repr__(self) -> str:
        return f"<artifact {self.path}: {'; '.join(map(str, self.functions.values()))}>"


def load(path: str | os.PathLike[str], *, target: str | None = None, device: str | None = None) -> Artifact:
    """The artifact at ``path``, checked and ready to run with the best kernels for this CPU (or those of ``target``).

    ``device`` is the GPU (``gpu:0``) that all functions run on, where results stay; the file has to have code for it.

    Loading runs native code of the file: load what you trust as a program. Raises ArtifactError for a file that is
    missing, no artifact, damaged or of a newer format, TargetError where this machine lacks what it needs.

    Example:
        >>> import mlc, numpy as np                                                # doctest: +SKIP
        >>> mlc.load("m.mlc").predict(x=np.zeros((1, 784), np.float32))["probs"]   # doctest: +SKIP
    """
    try:
        return open_artifact(path, target, device)
    except MlcError as error:
        from mlc.tracing.location import user_location

        error.location = str(user_location())
        if isinstance(error, ArtifactError):
            error.hint = error.hint or "mlc compile PROGRAM.py makes it anew; a copy of it may be incomplete"
        raise


def open_artifact(path: str | os.PathLike[str], target: str | None = None, device: str | None = None) -> Artifact:
    """As ``load``, for callers that are no lines of a user's program."""
    from mlc.artifact.gpu import open_on
    from mlc.artifact.library import Library
    from mlc.artifact.manifest import check_platform
    from mlc.artifact.package import Package
    from mlc.devices import placed

    package = Package(Path(path))
    manifest = package.manifest
    check_platform(manifest, str(path))
    package.check()
    level = _wanted_level(target)
    library = Library(package.member(manifest["library"]), manifest["library"], manifest["prefix"])
    constants = _constants(package)
    if library.constants != len(constants):
        raise ArtifactError(f"{path} is damaged: its library has {library.constants} weights, it has {len(constants)}")
    records = {record["name"]: record for record in manifest["functions"]}
    if set(records) != {f.name for f in library.functions}:
        raise ArtifactError(f"{path} is damaged: its manifest and its library name different functions")
    functions = {}
    on = None if device is None else placed(device, "load")
    if on is not None:
        for name, said in records.items():
            if not said.get("gpus") and any(r.get("gpus") for r in records.values()):
                notice(f"{path}: {name} has no code for GPUs and is left out")
                continue
            kind, run, plan = open_on(on, said, package, constants)
            functions[name] = ArtifactFunction(said, f"{kind} on {on.name}", run, plan)
        return Artifact(Path(path), manifest, functions)
    for loaded in library.functions:
        record = records[loaded.name]
        variants = [v for v in loaded.variants if (v.level <= level if target is None else v.level == level)]
        if not variants:
            there = ", ".join(record["variants"])
            raise TargetError(f"{path}: {loaded.name} has kernels for {there}; not for {_name(level, target)}")
        variant = max(variants, key=lambda v: v.level)
        if any(place >= len(constants) for place in loaded.constants):
            raise ArtifactError(f"{path} is damaged: {loaded.name} names a weight that is not there")
        own = [constants[place] for place in loaded.constants]
        run = _executable(variant.plan, variant.kernels, own, (library, package), record, str(path))
        functions[loaded.name] = ArtifactFunction(record, _name(variant.level, None), run, bytes(variant.plan))
    return Artifact(Path(path), manifest, functions)


def _executable(
    plan: bytes, kernels: tuple[int, ...], constants: list[Any], keep: object, record: Mapping[str, Any], path: str
) -> Any:
    """The compiled function, after its Plan and its record in the manifest were found to say the same."""
    from mlc.array import Array
    from mlc.ir.plan import decode
    from mlc.runtime import Executable

    decoded = decode(plan)
    for leaves, places in ((record["inputs"], decoded.inputs), (record["outputs"], decoded.outputs)):
        said = [(leaf["name"], leaf["dtype"], [str(n) for n in leaf["shape"]]) for leaf in leaves]
        if said != [(p.name, p.type.dtype.name, [str(n) for n in p.type.shape]) for p in places]:
            raise ArtifactError(f"{path} is damaged: its manifest and its library differ on {record['name']}")
    return Executable(plan, kernels, constants, keep, Array)


def _constants(package: Any) -> list[Any]:
    """The library's table of constants, in order; views of the mapped file where they lie aligned in it."""
    records = package.manifest["constants"]
    if not records:
        return []
    from mlc.array import asarray
    from mlc.artifact.weights import read_safetensors
    from mlc.ir.types import DTYPES

    for record in records:
        if record["dtype"] not in DTYPES:
            raise ArtifactError(f"{package.path} is damaged: a weight of the type {record['dtype']!r}")
    expected = {r["name"]: (DTYPES[r["dtype"]], tuple(r["shape"])) for r in records}
    found = read_safetensors(package.member(package.manifest["weights"]), expected)
    return [asarray(found[r["name"]], copy=False) for r in records]


def _wanted_level(target: str | None) -> int:
    """The level of this CPU, or of `target`; TargetError where the CPU does not have it."""
    from mlc.runtime import _rt

    level: int = _rt.lib.mlc_cpu_level()
    if target is None:
        return level
    if target not in _LEVELS:
        raise TargetError(f"no target {target!r}", hint=f"there are {', '.join(_LEVELS)}")
    if _LEVELS[target] > level:
        raise TargetError(f"this CPU does not run {target}: it has {_name(level, None)}")
    return _LEVELS[target]


def _name(level: int, target: str | None) -> str:
    return target or next((name for name, n in _LEVELS.items() if n == level), "a CPU below x86-64-v3")
