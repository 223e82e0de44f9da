"""Texts with one barrier, wait or commit left out: each is a kernel whose mistake the machine must see.

Those of sm_90 and later (mbarriers, fences, commits and waits of wgmma) are not left out, for the machine runs none of
them; nor are fences, which it runs in the order of the text: there is nothing that one of them alone would change.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_ORDERING = re.compile(
    r"^\s*(?:@!?%\w+\s+)?(bar\.sync|bar\.warp\.sync|barrier\.(?:cta\.)?sync[\w.]*|cp\.async\.wait_group|cp\.async\.wait_all"
    r"|cp\.async\.commit_group)\b[^;]*;\s*$"
)


def mutations(text: str) -> Iterator[tuple[int, str, str]]:
    """(line from 1, what was there, the text without it) for each instruction that only orders others."""
    lines = text.split("\n")
    for i, line in enumerate(lines):
        if _ORDERING.match(line):
            yield i + 1, line.strip(), "\n".join([*lines[:i], "", *lines[i + 1 :]])
