"""What a training program needs around its step: checkpoints that it goes on from, and a progress bar."""

from __future__ import annotations

from .checkpoints import Checkpoints
from .fingerprints import fingerprint
from .progressing import progress

__all__ = ["Checkpoints", "fingerprint", "progress"]
