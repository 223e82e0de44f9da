"""Compiled functions to files: objects, a shared or static library with its header, or one artifact."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlc import runtime
from mlc.artifact import descriptors, gpu, package
from mlc.artifact.archive import archive
from mlc.artifact.exporting import Export
from mlc.artifact.functions import Function, Report, Variant, compile_exports
from mlc.artifact.gpu import check_gpus
from mlc.artifact.header import header
from mlc.artifact.link import find_linker, link_shared
from mlc.artifact.manifest import Source, make_manifest
from mlc.artifact.names import library_prefix
from mlc.artifact.weights import Weight, collect, write_block, write_safetensors
from mlc.codegen import compile_object
from mlc.errors import ArtifactError, UnsupportedError
from mlc.ir.plan import encode, print_plan

TARGETS = tuple(descriptors.LEVELS)
EMBEDDED_LIMIT = 1 << 30  # bytes of weights in a library; code reaches its data with 32-bit offsets


@dataclass(frozen=True, slots=True)
class Options:
    """What to emit: ``kind`` is mlc, so or a; ``linker`` None takes the first that is there.

    ``gpus`` are the targets of GPUs that an artifact has code for, beside the CPU's ``targets``.
    """

    kind: str = "mlc"
    targets: tuple[str, ...] = TARGETS
    linker: str | None = None
    gpus: tuple[str, ...] = ()


def check(options: Options) -> None:
    """Raise before a program runs what would stop ``build`` after it.

    TargetError for a linker that is not there, ArgumentError and TargetError for flags that mean nothing.
    """
    from mlc.compiler import Options as Flags

    if options.kind != "a":
        find_linker(options.linker)
    if check_gpus(options.gpus) and options.kind != "mlc":
        raise UnsupportedError("a library has no code for GPUs", hint="--emit mlc makes an artifact, which has")
    Flags.from_environment()


def count_steps(exports: Sequence[Export], options: Options) -> int:
    """How many steps ``build`` reports: each function is compiled and generated for each target, then all is linked."""
    return (2 * len(options.targets) + len(options.gpus)) * len(exports) + 1


def build(
    exports: Sequence[Export], output: Path, options: Options, source: Source, report: Report = lambda step: None
) -> list[Path]:
    """Compile ``exports`` and write ``output`` (and a header beside a library); gives the files written.

    Raises ArtifactError where nothing is exported, UnsupportedError for a target, an op or a size that mlc does not do,
    TargetError where no linker is there.
    """
    if not exports:
        raise ArtifactError(f"{source.name} exports nothing", hint='mark a function with mlc.export("name", f, x=spec)')
    functions = compile_exports(exports, options.targets, report, options.gpus)
    return write(functions, output, options, source, report)


def write(
    functions: Sequence[Function], output: Path, options: Options, source: Source, report: Report = lambda step: None
) -> list[Path]:
    """As ``build``, from functions that are compiled."""
    prefix = library_prefix(output)
    weights, tables = collect([f.constants for f in functions] + [g.constants for f in functions for g in f.gpus])
    tables, gpu_tables = tables[: len(functions)], iter(tables[len(functions) :])
    embedded = options.kind != "mlc"
    total = sum(w.array.nbytes for w in weights)
    if embedded and total > EMBEDDED_LIMIT:
        raise UnsupportedError(
            f"{total} bytes of weights do not fit into a library (1 GiB)", hint="--emit mlc keeps them beside it"
        )
    text = header(prefix, [f.signature for f in functions], [(w.name, str(w.type)) for w in weights], embedded)
    with tempfile.TemporaryDirectory(prefix="mlc-build-") as scratch:
        objects = _objects(prefix, functions, weights, tables, embedded, Path(scratch), report)
        report("linking")
        if options.kind == "a":
            members = [*objects.items(), ("mlc_runtime.o", runtime.runtime_object().read_bytes())]
            package.replace_file(output, archive(members))
        elif options.kind == "so":
            _link(objects, output, Path(scratch), options.linker)
        else:
            library = Path(scratch) / f"lib{prefix}.so"
            linker = _link(objects, library, Path(scratch), options.linker)
            flags = {"targets": list(options.targets), "linker": linker}
            flags |= {"gpus": list(options.gpus)} if options.gpus else {}
            manifest = make_manifest(prefix, functions, weights, flags, source)
            for function, said in zip(functions, manifest["functions"], strict=True):
                said["gpus"] = {g.target.name: gpu.record(g, next(gpu_tables)) for g in function.gpus}
            _write_package(output, functions, weights, library, text, manifest)
            return [output]
    beside = output.with_suffix(".h")
    package.replace_file(beside, text.encode())
    return [output, beside]


def _objects(
    prefix: str,
    functions: Sequence[Function],
    weights: Sequence[Weight],
    tables: Sequence[Sequence[int]],
    embedded: bool,
    scratch: Path,
    report: Report,
) -> dict[str, bytes]:
    """Name -> object: one a variant, one with the descriptors, one with the weights where they are embedded."""
    objects = {}
    rows = []
    for function, table in zip(functions, tables, strict=True):
        name, sizes = function.signature.name, []
        for variant in function.variants:
            report(f"generating {name} for {variant.target.name}")
            symbol = descriptors.variant_symbol(prefix, name, variant.target.name)
            plan = encode(variant.plan)
            objects[f"{symbol}.o"] = _variant_object(symbol, variant, plan)
            sizes.append(descriptors.VariantSize(variant.target.name, len(plan), len(variant.plan.kernels)))
        rows.append(descriptors.Descriptor(function.signature, tuple(sizes), tuple(table)))
    offsets = None
    if embedded and weights:
        block = scratch / "weights.bin"
        offsets = write_block(weights, block)
        objects[f"{prefix}_weights.o"] = _assemble(descriptors.weights_module(prefix, str(block)))
    constants = [(w.name, w.array.nbytes) for w in weights]
    module = descriptors.library_module(prefix, rows, constants, offsets)
    objects[f"{prefix}_library.o"] = compile_object(module, descriptors.BASELINE)
    return objects


def _variant_object(symbol: str, variant: Variant, plan: bytes) -> bytes:
    """The kernels of a variant, local to their object and named so that a profile tells them apart; Plan and table."""
    from llvmlite import binding

    tables = descriptors.variant_tables(symbol, plan, variant.plan.kernels)
    module = binding.parse_assembly(f"{variant.llvm}\n{tables}")
    for function in module.functions:
        if not function.is_declaration:
            function.linkage = "internal"
            function.name = f"{symbol}_{function.name}"
    return compile_object(str(module), variant.target, variant.optimize)


def _assemble(module: str) -> bytes:
    """The object of a module that holds assembly, for which LLVM's assembler is needed too."""
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmparser()
    return compile_object(module, descriptors.BASELINE)


def _link(objects: Mapping[str, bytes], output: Path, scratch: Path, linker: str | None) -> str:
    paths = []
    for name, data in objects.items():
        path = scratch / name
        path.write_bytes(data)
        paths.append(path)
    return link_shared([*paths, runtime.runtime_object()], output, linker)


def _write_package(
    output: Path,
    functions: Sequence[Function],
    weights: Sequence[Weight],
    library: Path,
    header_text: str,
    manifest: dict[str, Any],
) -> None:
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".mlc-") as folder:
        safetensors = Path(folder) / "weights"
        with safetensors.open("wb") as file:
            write_safetensors(weights, file)
        members: dict[str, bytes | Path] = {
            manifest["library"]: library,
            manifest["header"]: header_text.encode(),
            manifest["weights"]: safetensors,
        }
        for function in functions:
            for variant in function.variants:
                stem = f"text/{function.signature.name}.{variant.target.name}"
                members[f"{stem}.plan"] = print_plan(variant.plan).encode()
                members[f"{stem}.kernels"] = variant.kernels.encode()
            for gpu_variant in function.gpus:
                members |= gpu.members(function.signature.name, gpu_variant)
        whole = Path(folder) / "artifact"
        package.write(whole, manifest, members)
        os.replace(whole, output)
