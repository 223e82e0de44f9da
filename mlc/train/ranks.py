"""Which process of a job this one is, as the launcher says."""

from __future__ import annotations

import os


def rank() -> int:
    """The rank that ``mlc launch`` gave this process; 0 outside of a job."""
    return int(os.environ.get("MLC_RANK", "0"))
