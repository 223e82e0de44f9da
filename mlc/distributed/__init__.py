"""Several processes that run one program: their world, collectives among them, steps cut among them.

Example:
    >>> from mlc import distributed
    >>> distributed.init()  # under `mlc launch -n 4 model.py` this process is one of four
    >>> distributed.rank(), distributed.size()
    (0, 1)
"""

from .collectives import all_gather, all_reduce, broadcast, reduce_scatter
from .parallel import data_parallel
from .world import finalize, init, rank, size

__all__ = [
    "all_gather", "all_reduce", "broadcast", "data_parallel", "finalize", "init", "rank", "reduce_scatter", "size",
]  # fmt: skip
