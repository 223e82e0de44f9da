"""`mlc launch`: starts a program on N processes, watches them, and starts it again when one is lost."""

from __future__ import annotations

from .job import DEADLINE, Job
from .launchers import Launcher, find

__all__ = ["DEADLINE", "Job", "Launcher", "find"]
