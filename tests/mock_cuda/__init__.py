"""A CUDA driver for machines without one: the C code that mlc runs, on kernels that the PTX interpreter runs."""

from .driver import MockDriver, build
from .host_memory import HostMemory

__all__ = ["HostMemory", "MockDriver", "build"]
