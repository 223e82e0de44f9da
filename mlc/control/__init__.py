"""Control flow that data decides, with JAX's names: while_loop, fori_loop, scan, cond, switch."""

from .branches import cond, switch
from .fori import fori_loop
from .loops import while_loop
from .scanning import scan

__all__ = ["cond", "fori_loop", "scan", "switch", "while_loop"]
