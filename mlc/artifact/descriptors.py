"""LLVM IR for what a library holds beside its kernels: the structs of runtime/mlc.h and the entries in C."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlc.artifact.signature import Signature
from mlc.ir.target import Target

ABI = 1  # MLC_ABI of runtime/mlc.h
LEVELS = {"x86-64-v3": 3, "x86-64-v4": 4}  # target -> level of mlc_variant

# What holds the descriptors and the entries: runs on every x86-64, so that a CPU below the targets is told so.
BASELINE = Target("x86-64", "x86_64-unknown-linux-gnu", "x86-64", "", 128, 16, 32 << 10, 512 << 10)

_TYPES = """\
%mlc_variant = type { i32, ptr, i64, ptr, i64 }
%mlc_function = type { ptr, ptr, i64, ptr, i64, ptr }
%mlc_constant = type { ptr, ptr, i64 }
%mlc_library = type { i32, ptr, i64, ptr, i64 }
declare i32 @mlc_function_run(ptr, i64, ptr, ptr, ptr, ptr)"""


@dataclass(frozen=True, slots=True)
class VariantSize:
    """What the descriptor says about one variant of a function."""

    target: str
    plan_bytes: int
    kernels: int


@dataclass(frozen=True, slots=True)
class Descriptor:
    """One function: its signature, its variants (any order) and the places of its constants in the library's table."""

    signature: Signature
    variants: tuple[VariantSize, ...]
    constants: tuple[int, ...]


def variant_tables(symbol: str, plan: bytes, kernels: Sequence[str]) -> str:
    """The Plan and the kernel table of one variant, to be appended to the module that defines the kernels."""
    table = ", ".join(f"ptr @{name}" for name in kernels)
    return (
        f"@{symbol}_plan = hidden constant [{len(plan)} x i8] {_string(plan)}, align 64\n"
        f"@{symbol}_kernels = hidden constant [{len(kernels)} x ptr] [{table}], align 8\n"
    )


def variant_symbol(prefix: str, function: str, target: str) -> str:
    """What the names of a variant begin with; the dot keeps them apart from functions, whatever those are called.

    >>> variant_symbol("m", "predict", "x86-64-v4")
    'm_predict.x86_64_v4'
    """
    return f"{prefix}_{function}.{target.replace('-', '_')}"


def library_module(
    prefix: str,
    functions: Sequence[Descriptor],
    constants: Sequence[tuple[str, int]],
    offsets: Sequence[int] | None,
) -> str:
    """The module with the library's descriptor, its accessor `PREFIX_library` and the entries `PREFIX_FUNCTION`.

    `constants` are (name, bytes); `offsets` are theirs in the block `PREFIX.weights`, or None where weights travel
    beside the library.
    """
    parts = [f'target triple = "{BASELINE.triple}"', _TYPES]
    if offsets:
        parts.append(f"@{prefix}.weights = external hidden constant i8, align 64")
    parts += [_function_data(prefix, d) for d in functions]
    parts.append(_constants(prefix, constants, offsets))
    parts.append(_library(prefix, functions, len(constants)))
    parts += [_entry(prefix, i, d.signature) for i, d in enumerate(functions)]
    return "\n\n".join(parts) + "\n"


def weights_module(prefix: str, block: str) -> str:
    """A module that only includes the file `block` as `PREFIX.weights`; its bytes never become text."""
    lines = [
        f'.section .rodata.{prefix}.weights,"a",@progbits',
        ".balign 64",
        f".globl {prefix}.weights",
        f".hidden {prefix}.weights",
        f".type {prefix}.weights,@object",
        f"{prefix}.weights:",
        f'.incbin "{block}"',
        f".size {prefix}.weights, . - {prefix}.weights",
    ]
    assembly = [f"module asm {_quoted(line.encode())}" for line in lines]
    return "\n".join([f'target triple = "{BASELINE.triple}"', *assembly]) + "\n"


def _function_data(prefix: str, descriptor: Descriptor) -> str:
    name = descriptor.signature.name
    symbol = f"{prefix}_{name}"
    lines, variants = [], []
    for v in descriptor.variants:
        own = variant_symbol(prefix, name, v.target)
        lines.append(f"@{own}_plan = external hidden constant [{v.plan_bytes} x i8]")
        lines.append(f"@{own}_kernels = external hidden constant [{v.kernels} x ptr]")
        variants.append(
            f"%mlc_variant {{ i32 {LEVELS[v.target]}, ptr @{own}_plan, i64 {v.plan_bytes}, "
            f"ptr @{own}_kernels, i64 {v.kernels} }}"
        )
    lines.append(f"@{symbol}.name = internal constant [{len(name) + 1} x i8] {_string(name.encode() + bytes(1))}")
    lines.append(f"@{symbol}.variants = internal constant [{len(variants)} x %mlc_variant] [{', '.join(variants)}]")
    places = ", ".join(f"i32 {i}" for i in descriptor.constants)
    lines.append(f"@{symbol}.constants = internal constant [{len(descriptor.constants)} x i32] [{places}]")
    return "\n".join(lines)


def _constants(prefix: str, constants: Sequence[tuple[str, int]], offsets: Sequence[int] | None) -> str:
    lines, rows = [], []
    for i, (name, size) in enumerate(constants):
        text = name.encode() + b"\0"
        lines.append(f"@{prefix}.constant{i} = internal constant [{len(text)} x i8] {_string(text)}")
        data = f"getelementptr (i8, ptr @{prefix}.weights, i64 {offsets[i]})" if offsets else "null"
        rows.append(f"%mlc_constant {{ ptr @{prefix}.constant{i}, ptr {data}, i64 {size} }}")
    lines.append(f"@{prefix}.constants = internal global [{len(rows)} x %mlc_constant] [{', '.join(rows)}]")
    return "\n".join(lines)


def _library(prefix: str, functions: Sequence[Descriptor], constants: int) -> str:
    rows = []
    for d in functions:
        symbol = f"{prefix}_{d.signature.name}"
        places = f"ptr @{symbol}.constants" if d.constants else "ptr null"
        rows.append(
            f"%mlc_function {{ ptr @{symbol}.name, ptr @{symbol}.variants, i64 {len(d.variants)}, "
            f"{places}, i64 {len(d.constants)}, ptr null }}"
        )
    return (
        f"@{prefix}.functions = internal global [{len(rows)} x %mlc_function] [{', '.join(rows)}]\n"
        f"@{prefix}.library = internal global %mlc_library {{ i32 {ABI}, ptr @{prefix}.functions, i64 {len(rows)}, "
        f"ptr @{prefix}.constants, i64 {constants} }}\n"
        f"define ptr @{prefix}_library() {{\n  ret ptr @{prefix}.library\n}}"
    )


def _entry(prefix: str, index: int, signature: Signature) -> str:
    """Put the C arguments into arrays and call the runtime; -EINVAL (22) without a context."""
    inputs = [f"%in{i}" for i in range(len(signature.inputs))]
    outputs = [f"%out{i}" for i in range(len(signature.outputs))]
    symbols = [f"%n{i}" for i in range(len(signature.symbols))]
    parameters = ["ptr %context", *(f"i64 {s}" for s in symbols), *(f"ptr {p}" for p in inputs + outputs)]
    body: list[str] = []
    for array, values, kind in (("%inputs", inputs, "ptr"), ("%outputs", outputs, "ptr"), ("%symbols", symbols, "i64")):
        body.append(f"  {array} = alloca [{len(values)} x {kind}], align 8")
        for i, value in enumerate(values):
            body.append(f"  {array}.{i} = getelementptr {kind}, ptr {array}, i64 {i}")
            body.append(f"  store {kind} {value}, ptr {array}.{i}, align 8")
    lines = "\n".join(body)
    return f"""\
define i32 @{prefix}_{signature.name}({", ".join(parameters)}) {{
  %missing = icmp eq ptr %context, null
  br i1 %missing, label %refuse, label %run
refuse:
  ret i32 -22
run:
{lines}
  %status = call i32 @mlc_function_run(ptr @{prefix}.library, i64 {index}, ptr %context, ptr %inputs, ptr %symbols, \
ptr %outputs)
  ret i32 %status
}}"""


def _string(data: bytes) -> str:
    return "c" + _quoted(data)


def _quoted(data: bytes) -> str:
    plain = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _-.,:/@()[]'"
    return '"' + "".join(chr(b) if b in plain else f"\\{b:02X}" for b in data) + '"'
