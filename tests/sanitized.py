"""The runtime with a sanitizer: its C sources to objects, compiled once for all tests and workers of a run."""

from __future__ import annotations

import fcntl
import subprocess
from pathlib import Path

from mlc.runtime import header, sources

WARNINGS = ["-std=c11", "-g", "-Wall", "-Wextra", "-Werror", "-pthread"]


def sanitizer_flags(sanitizer: str) -> list[str]:
    """What programs are compiled and linked with: ``address,undefined`` or ``thread``; the first finding ends them."""
    return ["-O1", f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all"]


def runtime_objects(cc: str, sanitizer: str, folder: Path) -> list[Path]:
    """Position-independent objects of the runtime in ``folder``, by whoever comes first; others wait for them."""
    made, done = folder / sanitizer, folder / sanitizer / "done"
    made.mkdir(parents=True, exist_ok=True)
    with open(made / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            flags = [*WARNINGS, *sanitizer_flags(sanitizer), "-fPIC", f"-I{header().parent}"]
            subprocess.run([cc, *flags, "-c", *sources()], cwd=made, check=True)
            done.touch()
    return [made / f"{source.stem}.o" for source in sources()]
