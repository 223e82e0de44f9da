"""The kernel language: structured loops over scalars and vectors, in which everything that decides speed is visible."""

from .builder import KernelBuilder
from .data import (
    TOKEN,
    Attribute,
    Instruction,
    Kernel,
    Loop,
    Memory,
    Role,
    Statement,
    Value,
    VectorType,
    While,
    defined,
    largest_id,
    walk,
)
from .index import Index, IndexLike, IndexVariable
from .interpret import interpret_kernel
from .parse import parse_kernel, parse_kernels
from .printer import print_kernel
from .verify import verify_kernel
from .writer import LoopScope, Writer

__all__ = [
    "TOKEN", "Attribute", "Index", "IndexLike", "IndexVariable", "Instruction", "Kernel", "KernelBuilder", "Loop",
    "LoopScope", "Memory", "Role", "Statement", "Value", "VectorType", "While", "Writer", "defined", "interpret_kernel",
    "largest_id", "parse_kernel", "parse_kernels", "print_kernel", "verify_kernel", "walk",
]  # fmt: skip
