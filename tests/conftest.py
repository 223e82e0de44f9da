"""Tests compile what they run: the cache on disk is off but where a test turns it on."""

from __future__ import annotations

import os

os.environ.setdefault("MLC_CACHE", "0")
