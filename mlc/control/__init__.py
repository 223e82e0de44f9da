"""Control flow that data decides, with JAX's names: while_loop, fori_loop, cond, switch."""

from .branches import cond, switch
from .loops import fori_loop, while_loop

__all__ = ["cond", "fori_loop", "switch", "while_loop"]
