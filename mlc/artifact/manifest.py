"""The manifest of an artifact: what is in it, what it needs, and what made it; made here and checked here."""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from mlc.artifact import structure
from mlc.errors import ArtifactError, TargetError
from mlc.ir.plan import walk_steps
from mlc.ir.plan.memory import peak_bytes

if TYPE_CHECKING:
    from mlc.artifact.functions import Function
    from mlc.artifact.weights import Weight

KIND = "mlc artifact"
FORMAT = 1  # the newest that this mlc reads; it reads all older ones
PLATFORM = f"{sys.platform}-{platform.machine()}"


@dataclass(frozen=True, slots=True)
class Source:
    """The program that an artifact was made of."""

    name: str
    sha256: str


def make_manifest(
    prefix: str, functions: Sequence[Function], weights: Sequence[Weight], flags: Mapping[str, Any], source: Source
) -> dict[str, Any]:
    """The manifest without the checksums of the members, which the writer adds."""
    from mlc.artifact.signature import to_json

    return {
        "kind": KIND,
        "format": FORMAT,
        "compiler": {"mlc": _version("mlc"), "llvmlite": _version("llvmlite"), "flags": dict(flags)},
        "platform": "linux-x86_64",
        "prefix": prefix,
        "library": f"lib{prefix}.so",
        "header": f"lib{prefix}.h",
        "weights": "weights.safetensors",
        "source": {"name": source.name, "sha256": source.sha256},
        "functions": [{**to_json(f.signature), "variants": _variants(f), "cost": f.cost} for f in functions],
        "constants": [
            {"name": w.name, "dtype": w.type.dtype.name, "shape": list(w.array.shape), "bytes": w.array.nbytes}
            for w in weights
        ],
    }


def check_manifest(manifest: Any, path: str) -> dict[str, Any]:
    """Raise ArtifactError for what is no manifest, is from a newer mlc, or lacks a part."""
    if not isinstance(manifest, dict) or manifest.get("kind") != KIND:
        raise ArtifactError(f"{path} is a zip file, but no mlc artifact: its manifest does not say so")
    version = manifest.get("format")
    if type(version) is not int or version < 1:
        raise ArtifactError(f"{path}: damaged manifest: its format is {version!r}")
    if version > FORMAT:
        made_by = manifest.get("compiler", {})
        name = made_by.get("mlc", "?") if isinstance(made_by, dict) else "?"
        raise ArtifactError(
            f"{path} has format {version}, made by mlc {name}; this mlc reads formats up to {FORMAT}",
            hint="upgrade mlc, or compile the program again",
        )
    for key, kind in _PARTS.items():
        if not isinstance(manifest.get(key), kind):
            raise ArtifactError(f"{path}: damaged manifest: {key!r} is missing")
    for function in manifest["functions"]:
        _check_function(function, path)
    for constant in manifest["constants"]:
        _check_record(constant, {"name": str, "dtype": str, "shape": list, "bytes": int}, path)
        if not all(type(n) is int and n >= 0 for n in constant["shape"]):
            raise ArtifactError(f"{path}: damaged manifest: the shape of {constant['name']!r}")
    return manifest


def check_platform(manifest: Mapping[str, Any], path: str) -> None:
    """TargetError where the artifact was compiled for another operating system or processor."""
    if manifest["platform"] != PLATFORM:
        raise TargetError(f"{path} was compiled for {manifest['platform']}, this is {PLATFORM}")


_PARTS: dict[str, type] = {
    "compiler": dict, "platform": str, "prefix": str, "library": str, "header": str, "weights": str,
    "functions": list, "constants": list, "members": dict,
}  # fmt: skip


def _check_function(function: Any, path: str) -> None:
    parts = {"name": str, "symbols": list, "inputs": list, "outputs": list, "arguments": dict, "variants": dict}
    _check_record(function, parts, path)
    for leaf in (*function["inputs"], *function["outputs"]):
        _check_record(leaf, {"name": str, "dtype": str, "shape": list}, path)
    what = f"{path}: damaged manifest: {function['name']}"
    structure.check({"dict": function["arguments"]}, len(function["inputs"]), what)
    structure.check(function.get("result"), len(function["outputs"]), what)


def _check_record(record: Any, parts: Mapping[str, type], path: str) -> None:
    if not isinstance(record, dict) or not all(isinstance(record.get(k), kind) for k, kind in parts.items()):
        raise ArtifactError(f"{path}: damaged manifest: a record without {', '.join(parts)}")


def _variants(function: Function) -> dict[str, Any]:
    return {
        v.target.name: {
            "kernels": list(v.plan.kernels),
            "steps": sum(1 for _ in walk_steps(v.plan.steps)),
            "arena_bytes": v.plan.arena_bytes,
            "scratch_bytes": v.plan.scratch_bytes,
            "peak_bytes": peak_bytes(v.buffers),
            "buffers": [asdict(b) for b in v.buffers],
        }
        for v in function.variants
    }


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def hash_bytes(data: bytes) -> str:
    """The checksum that manifests use."""
    return hashlib.sha256(data).hexdigest()
