"""The C header of an emitted library: all that a C or C++ program needs, with shapes and bounds as comments."""

from __future__ import annotations

from collections.abc import Sequence

from mlc.artifact.signature import Leaf, Signature

_C_TYPES = {
    "f32": "float", "f64": "double", "f16": "uint16_t", "bf16": "uint16_t", "bool": "bool",
    "i8": "int8_t", "i16": "int16_t", "i32": "int32_t", "i64": "int64_t",
    "u8": "uint8_t", "u16": "uint16_t", "u32": "uint32_t", "u64": "uint64_t",
}  # fmt: skip
_REMARKS = {"f16": " (bits of an IEEE half)", "bf16": " (bits of a bfloat16)"}

_RUNTIME = """\
#ifndef MLC_H /* the runtime's own header declares the same and more */
/* Threads, scratch memory and the text of the last error. One call at a time per context. */
struct mlc_context;
/* `threads` 0: MLC_NUM_THREADS, else the CPUs of this process. 0, -EINVAL, -ENOMEM or -EAGAIN. */
int mlc_context_create(int threads, struct mlc_context **out);
void mlc_context_destroy(struct mlc_context *context);
/* What the last failed call complained about; valid until the next call. */
const char *mlc_context_error(const struct mlc_context *context);
struct mlc_library;
/* Hand over weights that travel beside the library, aligned to 64 bytes, before the first call. */
int mlc_library_set_constant(struct mlc_library *library, size_t index, const void *data, size_t bytes);
/* Free what the calls of the library have built; none may be running. */
void mlc_library_release(struct mlc_library *library);
#endif
"""


def header(prefix: str, signatures: Sequence[Signature], constants: Sequence[tuple[str, str]], embedded: bool) -> str:
    """The header of the library `prefix`; `constants` are (name, type) of its weights, in order."""
    guard = f"{prefix.upper()}_COMPILED_BY_MLC_H"
    entries = "\n".join(_entry(prefix, s) for s in signatures)
    return f"""\
/* Functions compiled by mlc into the library `{prefix}`; it needs libc and POSIX threads. */
#ifndef {guard}
#define {guard}

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

{_RUNTIME}
/*
 * All arrays are dense and row-major; inputs need their element's alignment, outputs 64 bytes. A call returns 0 or a
 * negative errno: -EINVAL for a size out of bounds, -ENOTSUP for a CPU below the targets, -ENOMEM, and -ENODATA for
 * weights that were not set. After an error outputs hold anything.
 */

{entries}
{_library(prefix, constants, embedded)}
#ifdef __cplusplus
}}
#endif
#endif
"""


def prototype(prefix: str, signature: Signature) -> str:
    """The C declaration of one entry, without the semicolon."""
    parameters = ["struct mlc_context *context"]
    parameters += [f"int64_t {name}" for name in signature.symbol_c_names]
    parameters += [_pointer(leaf, const=not leaf.donated) for leaf in signature.inputs]
    parameters += [_pointer(leaf, const=False) for leaf in signature.outputs]
    return f"int {prefix}_{signature.name}({', '.join(parameters)})"


def _pointer(leaf: Leaf, const: bool) -> str:
    return f"{'const ' if const else ''}{_C_TYPES[leaf.type.dtype.name]} *{leaf.c_name}"


def _entry(prefix: str, signature: Signature) -> str:
    lines = [f"/* {signature.name}:"]
    for s, c_name in zip(signature.symbols, signature.symbol_c_names, strict=True):
        lines.append(f" *   {c_name}: {s.lower} to {s.upper}")
    for leaf in signature.inputs:
        lines.append(f" *   {_describe(leaf)}{'; may be the memory of its output' if leaf.donated else ''}")
    for leaf in signature.outputs:
        lines.append(f" *   {_describe(leaf)}, written")
    return "\n".join(lines) + f"\n */\n{prototype(prefix, signature)};\n"


def _describe(leaf: Leaf) -> str:
    dtype = leaf.type.dtype.name
    sizes = "".join(f"[{n}]" for n in leaf.type.shape)
    return f"{_C_TYPES[dtype]} {leaf.c_name}{sizes}{_REMARKS.get(dtype, '')}"


def _library(prefix: str, constants: Sequence[tuple[str, str]], embedded: bool) -> str:
    accessor = f"struct mlc_library *{prefix}_library(void);\n"
    if embedded or not constants:
        return f"/* The library itself, for mlc_library_release. */\n{accessor}"
    table = "\n".join(f" *   {i}: {name}, {type}" for i, (name, type) in enumerate(constants))
    comment = f"/* The library itself. Its weights travel beside it; mlc_library_set_constant takes\n{table}\n */"
    return f"{comment}\n{accessor}"
