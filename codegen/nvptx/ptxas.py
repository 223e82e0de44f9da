"""PTX text to a cubin by CUDA's assembler, where there is one, and what it says of registers and spills."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlc.errors import InternalError, UnsupportedError
from mlc.ir.target import GpuTarget

_COMPILING = re.compile(r"Compiling entry function '([^']+)'")
_SPILLS = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers")
_OLD = re.compile(r"Unsupported \.version|is not defined for option 'gpu-name'")
_SHARED = re.compile(r"(\d+) bytes smem")


@dataclass(frozen=True, slots=True)
class Usage:
    """What one kernel takes: registers of a thread, and bytes of its stack, of spills, and of shared memory."""

    registers: int
    stack: int
    spill_stores: int
    spill_loads: int
    shared: int

    @property
    def spills(self) -> bool:
        return self.spill_stores > 0 or self.spill_loads > 0


@dataclass(frozen=True, slots=True)
class Cubin:
    """Machine code of a module, and the usage of each of its kernels by name."""

    code: bytes
    usage: dict[str, Usage]


def find_ptxas(toolkits: Sequence[Path] = ()) -> Path | None:
    """The assembler on PATH, in one of ``toolkits``, where CUDA is installed, or in the wheel ``nvidia-cuda-nvcc``.

    None where there is none.
    """
    on_path = shutil.which("ptxas")
    if on_path:
        return Path(on_path)
    usual = [Path("/usr/local/cuda"), *sorted(Path("/usr/local").glob("cuda-*"), reverse=True)]
    places = [t / "bin" / "ptxas" for t in (*toolkits, *usual, *_wheels())]
    return next((p for p in places if os.access(p, os.X_OK)), None)


def assemble_ptx(ptx_text: str, target: GpuTarget, ptxas: Path | None = None) -> Cubin:
    """The cubin of a module for ``target``, by ``ptxas`` or the one that is found.

    Raises UnsupportedError where there is no assembler or it is older than the target, InternalError with its words
    where it refuses the text.
    """
    program = ptxas or find_ptxas()
    if program is None:
        raise UnsupportedError(
            "there is no ptxas on this machine: PTX is not assembled",
            hint="pip install 'mlc[ptxas]', or leave it to the driver",
        )
    with tempfile.TemporaryDirectory(prefix="mlc-ptxas-") as folder:
        source, result = Path(folder, "module.ptx"), Path(folder, "module.cubin")
        source.write_text(ptx_text)
        command = [str(program), f"-arch={target.cpu}", "-v", str(source), "-o", str(result)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0 and _OLD.search(done.stderr):
            raise UnsupportedError(
                f"{program} does not know {target.name}: {done.stderr.splitlines()[0]}",
                hint="pip install 'mlc[ptxas]', or leave it to the driver",
            )
        if done.returncode != 0:
            raise InternalError(f"codegen: ptxas refuses the text for {target.name}: {done.stderr}\n{ptx_text}")
        return Cubin(result.read_bytes(), _usage(done.stdout + done.stderr))


def _usage(report: str) -> dict[str, Usage]:
    """One kernel after another: its name, then its stack and spills, then its registers and shared memory."""
    found: dict[str, Usage] = {}
    for part in re.split(r"(?=Compiling entry function)", report)[1:]:
        name, spills, used, shared = (p.search(part) for p in (_COMPILING, _SPILLS, _USED, _SHARED))
        if name is None or spills is None or used is None:
            raise InternalError(f"codegen: ptxas says what is not understood: {part}")
        stack, stores, loads = map(int, spills.groups())
        found[name[1]] = Usage(int(used[1]), stack, stores, loads, int(shared[1]) if shared else 0)
    return found


def _wheels() -> list[Path]:
    """Folders of NVIDIA's wheels that may have a ``bin/ptxas``."""
    spec = importlib.util.find_spec("nvidia")
    folders = [] if spec is None else [Path(p) for p in spec.submodule_search_locations or ()]
    return [folder / name for folder in folders for name in ("cu13", "cuda_nvcc")]
