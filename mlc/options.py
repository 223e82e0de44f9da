"""The flags of the environment as the options of a compilation, read without importing the compiler.

``MLC_DUMP=dir`` writes every stage, ``MLC_VERIFY=1`` verifies after every pass, ``MLC_SKIP=a,b`` leaves out passes,
``MLC_TARGET`` names the target, ``MLC_LLVM_OPT=n`` runs LLVM's own pipeline at level n (a benchmark column),
``MLC_DEVICES`` describes the devices of the machine (JSON, or a file of it), ``MLC_CACHE=dir`` is the folder of the
cache, and ``MLC_CACHE=0`` turns it off.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .errors import ArgumentError, TargetError
from .ir.device import Machine, parse_machine
from .ir.target import TARGETS, Target, host_target


@dataclass(frozen=True)
class Options:
    """What a compilation may be told; ``from_environment`` reads the flags. ``cache``: its folder, None for none.

    ``home`` is the GPU of ``machine`` where arguments are and results go, None for the host.
    """

    target: Target
    verify: bool = False
    skip: frozenset[str] = frozenset()
    dump: Path | None = None
    llvm_opt: int = 0
    cache: Path | None = None
    machine: Machine = field(default_factory=Machine)
    home: str | None = None

    @staticmethod
    def from_environment() -> Options:
        env = os.environ
        name = env.get("MLC_TARGET", "")
        dump = env.get("MLC_DUMP")
        return Options(
            target=named_target(name) if name else host_target(),
            verify=env.get("MLC_VERIFY", "") not in ("", "0"),
            skip=skipped(env["MLC_SKIP"], "MLC_SKIP") if env.get("MLC_SKIP") else frozenset(),
            dump=Path(dump) if dump else None,
            llvm_opt=_level(env.get("MLC_LLVM_OPT") or "0"),
            cache=_cache_folder(env),
            machine=_described(env.get("MLC_DEVICES", "")),
        )


def named_target(name: str) -> Target:
    """The target ``name``. Raises TargetError for one that mlc does not know."""
    if name == "native":
        return host_target()
    if name not in TARGETS:
        raise TargetError(f"target {name!r} is not known", hint=f"it is one of native, {', '.join(TARGETS)}")
    return TARGETS[name]


def skipped(names: str, option: str) -> frozenset[str]:
    """The passes that ``option`` leaves out. ArgumentError for one that is not there or that what follows needs."""
    from .passes.kernels import KERNEL_PIPELINE, KernelPass
    from .passes.runner import PIPELINES, Pass

    skip = frozenset(filter(None, names.split(",")))
    passes: list[Pass | KernelPass] = [*itertools.chain(*PIPELINES.values()), *KERNEL_PIPELINE]
    free = list(dict.fromkeys(p.name for p in passes if not p.required))
    for name in sorted(skip.difference(free)):
        raise ArgumentError(f"{option}: no pass {name!r} can be left out", hint=f"these can: {', '.join(free)}")
    return skip


def _described(text: str) -> Machine:
    """The machine that MLC_DEVICES describes, as JSON or in a file of it; one device where it is empty."""
    if not text or text.lstrip().startswith("{"):
        return parse_machine(text) if text else Machine()
    try:
        return parse_machine(Path(text).read_text(encoding="utf-8"))
    except OSError as error:
        raise ArgumentError(f"MLC_DEVICES: cannot read {text}: {error.strerror}") from error


def _level(text: str) -> int:
    """MLC_LLVM_OPT. ArgumentError for what is no level of LLVM's."""
    if text not in ("0", "1", "2", "3"):
        raise ArgumentError(f"MLC_LLVM_OPT={text} is no level of LLVM's pipeline", hint="it is 0, 1, 2 or 3")
    return int(text)


def _cache_folder(env: Mapping[str, str]) -> Path | None:
    """MLC_CACHE, or ``mlc`` in the user's folder of caches."""
    named = env.get("MLC_CACHE")
    if named is not None:
        return None if named in ("", "0") else Path(named)
    base = env.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base and os.path.isabs(base) else Path.home() / ".cache") / "mlc"
    except RuntimeError:  # nobody's home
        return None
