"""Names as C wants them: identifiers that are no keywords and differ from each other."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

_KEYWORD_TEXT = """
alignas alignof and asm auto bool break case catch char class const constexpr continue default delete do double else
enum errno explicit export extern false float for friend goto if inline int long mutable namespace new not nullptr
operator or private protected public register restrict return short signed sizeof static struct switch template this
throw true try typedef typename typeof union unsigned using virtual void volatile while xor
"""
_KEYWORDS = frozenset(_KEYWORD_TEXT.split())


def c_identifier(text: str) -> str:
    """`text` with everything that C does not take in a name folded into underscores; C++ keywords get one more.

    >>> c_identifier("params['w1'][0]"), c_identifier("2d"), c_identifier("float")
    ('params_w1_0', '_2d', 'float_')
    """
    name = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_") or "value"
    if name[0].isdigit():
        name = "_" + name
    return name + "_" if name in _KEYWORDS else name


def distinct(names: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """`names` in order, later ones numbered where they repeat an earlier one or one of `taken`.

    >>> distinct(["x", "x", "y"], taken=["y"])
    ['x', 'x_2', 'y_2']
    """
    used = set(taken)
    result = []
    for name in names:
        candidate, n = name, 1
        while candidate in used:
            n += 1
            candidate = f"{name}_{n}"
        used.add(candidate)
        result.append(candidate)
    return result


def library_prefix(path: Path) -> str:
    """What the C names of a library begin with: its file name without `lib` and ending.

    >>> library_prefix(Path("out/libm.so")), library_prefix(Path("my-model.mlc"))
    ('m', 'my_model')
    """
    stem = path.name.split(".")[0]
    if path.suffix in (".so", ".a") and stem.startswith("lib") and len(stem) > 3:
        stem = stem[3:]
    return c_identifier(stem)
