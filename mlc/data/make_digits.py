"""Makes digits.npz from scikit-learn's digits.csv.gz (the test set of the UCI optical digits, CC BY 4.0).

    python -m mlc.data.make_digits [digits.csv.gz]

Without a path the file is taken from the installed scikit-learn. Each line of it holds 64 pixels in 0..16, row by row,
and the digit; digits.npz holds them as u8 arrays ``pixels`` (1797, 64) and ``labels`` (1797,), in the same order.
"""

from __future__ import annotations

import gzip
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np


def main(source: Path, target: Path) -> None:
    with gzip.open(source, "rt", encoding="ascii") as file:
        table = np.loadtxt(file, delimiter=",")
    if table.shape != (1797, 65) or table.min() < 0 or table.max() > 16:
        raise SystemExit(f"{source}: not the 1,797 digits")
    np.savez_compressed(target, pixels=table[:, :64].astype(np.uint8), labels=table[:, 64].astype(np.uint8))


def installed_source() -> Path:
    spec = find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise SystemExit("scikit-learn is not installed: name its digits.csv.gz")
    return Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else installed_source(), Path(__file__).with_name("digits.npz"))
