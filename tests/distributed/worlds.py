"""Worlds of ranks that are threads of this process, in place of MPI: the C walker's side of runtime/collective.h."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mlc.ir.collective import run_collective
from mlc.ir.plan import COLLECTIVES, REDUCTIONS, Plan, encode
from mlc.ir.types import DTYPES
from mlc.runtime._rt import ffi, lib

Array = npt.NDArray[Any]
_DTYPES = tuple(DTYPES.values())
SECONDS = 20.0  # a rank that waits so long for the others has failed


class _Error(ctypes.Structure):
    _fields_ = [("text", ctypes.c_void_p), ("size", ctypes.c_size_t)]


class _Collective(ctypes.Structure):
    _fields_ = [
        ("kind", ctypes.c_uint32), ("dtype", ctypes.c_uint32), ("reduction", ctypes.c_uint32),
        ("root", ctypes.c_uint32), ("device", ctypes.c_void_p), ("source", ctypes.c_void_p),
        ("destination", ctypes.c_void_p), ("count", ctypes.c_int64), ("ranks", ctypes.POINTER(ctypes.c_uint32)),
        ("n_ranks", ctypes.c_uint32), ("group_size", ctypes.c_uint32), ("label", ctypes.c_char_p),
    ]  # fmt: skip


_P, _I, _U, _ERROR = ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32, ctypes.POINTER(_Error)
_AGREE = ctypes.CFUNCTYPE(_I, _P, ctypes.c_char_p, ctypes.c_uint64, _ERROR)
_START = ctypes.CFUNCTYPE(_I, _P, _U, ctypes.POINTER(_Collective), _ERROR)
_PROGRESS = ctypes.CFUNCTYPE(_I, _P, _ERROR)
_WAIT = ctypes.CFUNCTYPE(_I, _P, _U, _P, _P, _ERROR)
_CLOSE = ctypes.CFUNCTYPE(None, _P)


class _World(ctypes.Structure):
    _fields_ = [
        ("rank", _I), ("size", _I), ("agree", _AGREE), ("start", _START), ("progress", _PROGRESS), ("wait", _WAIT),
        ("close", _CLOSE),
    ]  # fmt: skip


class Meeting:
    """What the ranks of a world share: what each has brought to its n-th collective."""

    def __init__(self, size: int, order: str = "linear") -> None:
        self.size, self.order = size, order
        self.changed = threading.Condition()
        self.brought: dict[int, dict[int, Array]] = {}
        self.hashes: dict[int, dict[int, int]] = {}
        self.fail_at: int | None = None  # the n-th collective is refused

    def all_there(self, board: dict[int, dict[int, Any]], number: int) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: len(board.get(number, {})) == self.size, SECONDS)

    def bring(self, board: dict[int, dict[int, Any]], number: int, rank: int, value: Any) -> None:
        with self.changed:
            board.setdefault(number, {})[rank] = value
            self.changed.notify_all()


class Rank:
    """One rank's world; ``log`` is what the walker asked of it, in order."""

    def __init__(self, meeting: Meeting, rank: int) -> None:
        self.meeting, self.rank = meeting, rank
        self.log: list[str] = []
        self.started = self.agreed = 0
        self.in_flight: dict[int, tuple[int, dict[str, Any]]] = {}
        self.struct = _World(
            rank, meeting.size, _AGREE(self._agree), _START(self._start), _PROGRESS(self._progress), _WAIT(self._wait),
            _CLOSE(lambda _: None),
        )  # fmt: skip

    @property
    def address(self) -> int:
        return ctypes.addressof(self.struct)

    def _agree(self, world: int, program: bytes, schedule: int, error: Any) -> int:
        self.log.append("agree")
        self.agreed += 1
        self.meeting.bring(self.meeting.hashes, self.agreed, self.rank, schedule)
        if not self.meeting.all_there(self.meeting.hashes, self.agreed):
            return _say(error, 110, "the others did not come to agree")
        if len(set(self.meeting.hashes[self.agreed].values())) > 1:
            return _say(error, 71, f"{program.decode()}: ranks run different programs")
        return 0

    def _start(self, world: int, slot: int, what: Any, error: Any) -> int:
        c = what.contents
        self.log.append(f"start {slot} {COLLECTIVES[c.kind]}")
        self.started += 1
        if self.meeting.fail_at == self.started:
            return _say(error, 5, f"rank {self.rank}: {c.label.decode()}: no way")
        assert slot not in self.in_flight
        dtype, members = _DTYPES[c.dtype], c.group_size
        nbytes = c.count * dtype.itemsize * (members if COLLECTIVES[c.kind] == "reduce_scatter" else 1)
        value = np.frombuffer(ctypes.string_at(c.source, nbytes), dtype.numpy)
        ranks = list(c.ranks[: c.n_ranks])
        groups = [ranks[i : i + members] for i in range(0, len(ranks), members)]
        (group,) = [g for g in groups if self.rank in g]
        about = {"kind": COLLECTIVES[c.kind], "reduction": REDUCTIONS[c.reduction], "root": c.root, "group": group}
        self.in_flight[slot] = self.started, {**about, "destination": c.destination}
        self.meeting.bring(self.meeting.brought, self.started, self.rank, value)
        return 0

    def _progress(self, world: int, error: Any) -> int:
        self.log.append("progress")
        return 0

    def _wait(self, world: int, slot: int, poll: int, data: int, error: Any) -> int:
        self.log.append(f"done {slot}")
        number, about = self.in_flight.pop(slot)
        if not self.meeting.all_there(self.meeting.brought, number):
            return _say(error, 110, f"rank {self.rank}: the others did not come")
        group, to = about.pop("group"), about.pop("destination")
        values = [self.meeting.brought[number][r] for r in group]
        result = run_collective(about.pop("kind"), values, order=self.meeting.order, **about)[group.index(self.rank)]
        ctypes.memmove(to, result.ctypes.data, result.nbytes)
        return 0


def _say(error: Any, number: int, text: str) -> int:
    data = text.encode()[: error.contents.size - 1] + b"\0"
    ctypes.memmove(error.contents.text, data, len(data))
    return -number


class Outcome:
    """What one rank's run came to: its outputs, or the runtime's status and text."""

    def __init__(self) -> None:
        self.outputs: list[Array] = []
        self.status, self.text = 0, ""


def run_ranks(
    plans: Sequence[Plan],
    kernels: Sequence[int],
    constants: Sequence[Array],
    inputs: Sequence[Sequence[Array]],
    ranks: Sequence[Rank | None],
    *,
    threads: int = 1,
    runs: int = 1,
) -> list[Outcome]:
    """Run each rank's plan in C on a thread of its own, ``runs`` times; sizes are static."""
    outcomes = [Outcome() for _ in plans]
    rows = zip(plans, inputs, ranks, outcomes, strict=True)
    work = [threading.Thread(target=_run, args=(*row, kernels, constants, threads, runs)) for row in rows]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    return outcomes


def _run(
    plan: Plan,
    inputs: Sequence[Array],
    rank: Rank | None,
    outcome: Outcome,
    kernels: Sequence[int],
    constants: Sequence[Array],
    threads: int,
    runs: int,
) -> None:
    data, text, out = encode(plan), ffi.new("char[512]"), ffi.new("struct mlc_program **")
    functions = [ffi.cast("mlc_kernel", address) for address in kernels]
    held = [aligned(c) for c in constants]
    status = lib.mlc_program_create(
        data, len(data), functions, len(kernels), [_pointer(c) for c in held], len(held), out, text, 512
    )
    assert status == 0, ffi.string(text)
    contexts = ffi.new("struct mlc_context **")
    assert lib.mlc_context_create(threads, contexts) == 0
    if rank is not None:
        lib.mlc_context_set_world(contexts[0], ffi.cast("struct mlc_world *", rank.address))
    given = [aligned(a) for a in inputs]
    found = [aligned(np.zeros([int(n) for n in o.type.shape], o.type.dtype.numpy)) for o in plan.outputs]
    run: Callable[..., int] = lib.mlc_program_run
    for _ in range(runs):
        if not outcome.status:
            pointers = [_pointer(a) for a in given], [_pointer(a) for a in found]
            outcome.status = run(out[0], contexts[0], pointers[0], ffi.NULL, pointers[1])
    outcome.outputs, outcome.text = found, ffi.string(lib.mlc_context_error(contexts[0])).decode()
    lib.mlc_program_destroy(out[0])
    lib.mlc_context_destroy(contexts[0])


def aligned(array: Array) -> Array:
    """A copy in memory that the runtime takes for inputs and outputs."""
    block = np.zeros(array.nbytes + 64, np.uint8)
    begin = -block.ctypes.data % 64
    copy = block[begin : begin + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def _pointer(array: Array) -> Any:
    return ffi.cast("void *", array.ctypes.data)
