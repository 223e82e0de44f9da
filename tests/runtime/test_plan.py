"""The Plan as data: round trip, text, verifier, and damaged bytes in Python and in C."""

from __future__ import annotations

import contextlib
import random
import struct
import zlib
from dataclasses import replace
from typing import Any

import pytest

from mlc.errors import ParseError, VerifyError
from mlc.ir.dims import dim
from mlc.ir.plan import (
    COLLECTIVES,
    REDUCTIONS,
    BufferRef,
    CollectiveDone,
    CollectiveStart,
    Copy,
    Launch,
    Plan,
    PlanConstant,
    PlanDevice,
    PlanInput,
    PlanOutput,
    Progress,
    decode,
    encode,
    verify_plan,
    walk_steps,
)
from mlc.ir.plan.data import Step
from mlc.ir.plan.encode import HEADER, VERSION
from mlc.ir.plan.parse import parse_plan
from mlc.ir.types import DTYPES, F32, TensorType
from mlc.runtime._rt import ffi, lib

from .plans import N, counter, looped, place, stress, vector

EMPTY = Plan("nothing", (), (), (), (), 0, 0, (), ())


def c_accepts(data: bytes, n_kernels: int, n_constants: int) -> bool:
    """Whether the C runtime makes a program of ``data``; it must say why not. Kernels are never called."""
    program, text = ffi.new("struct mlc_program **"), ffi.new("char[256]")
    kernels = [ffi.cast("mlc_kernel", 64)] * n_kernels
    constants = [ffi.cast("void *", 64)] * n_constants
    status = lib.mlc_program_create(data, len(data), kernels, n_kernels, constants, n_constants, program, text, 256)
    assert (status == 0) == (program[0] != ffi.NULL)
    assert status == 0 or ffi.string(text)
    lib.mlc_program_destroy(program[0])
    return bool(status == 0)


def sealed(body: bytes) -> bytes:
    """``body`` under a header that fits it, so that damage gets past the checksum."""
    return HEADER.pack(b"MLCP", VERSION, HEADER.size + len(body), zlib.crc32(body), 0) + body


def random_plan(rng: random.Random) -> Plan:
    """Any shape of Plan that verifies, over all dtypes, with polynomial sizes."""
    symbols = [dim(name, rng.randrange(3), 3 + rng.randrange(60)) for name in rng.sample(["a", "b", "größe"], 2)]
    a, b = symbols
    sizes = [a, b, a * b, a * 3 + 7, b * b * 2 + a, 5, 0, 1 << 20]
    types = [TensorType(tuple(rng.choices(sizes, k=rng.randrange(4))), d) for d in rng.sample(list(DTYPES.values()), 4)]
    devices = tuple(PlanDevice(f"gpu:{i}", "sm_80", rng.randrange(9999)) for i in range(rng.randrange(3)))
    home = rng.randrange(len(devices) + 1)
    inputs = [PlanInput("shapes", TensorType((a, b), F32))]
    inputs += [PlanInput(f"x{i}", t, None, home) for i, t in enumerate(types)]
    if rng.random() < 0.5:
        inputs[1] = replace(inputs[1], donated_to=0)
    outputs = tuple(PlanOutput(f"y{i}", t, home) for i, t in enumerate(types))
    constants = (PlanConstant("c", TensorType((3, 4), rng.choice(list(DTYPES.values()))), home),)
    places = [place("output", 1), place("constant"), place("arena", home, rng.randrange(100) if home == 0 else 0)]
    places.append(place("input", 1 if home else 0))
    steps = [
        Launch(
            rng.randrange(2),
            tuple(rng.choices(places, k=rng.randrange(5))),
            tuple(rng.choices(sizes, k=rng.randrange(3))),
            tuple((rng.choice(sizes), rng.randrange(1, 99)) for _ in range(rng.randrange(3))),
            rng.random() < 0.5,
            rng.random() < 0.5 or home > 0,
            rng.choice(["", "model.py:3", "äöü"]),
            home,
            rng.randrange(1, 1025) if home else 0,
            rng.randrange(2**16) if home else 0,
        )
        for _ in range(rng.randrange(6))
    ]
    copy = Copy(place("arena", 0, 64), place("arena", 0, 512), rng.randrange(400), rng.random() < 0.5, "copy")
    if home:
        copy = replace(copy, destination=place("arena", home), nbytes=0, serial=True)
    steps += random_collective(rng)
    all_symbols = tuple(s for d in symbols for s in d.symbols)
    return Plan("p", all_symbols, tuple(inputs), outputs, constants, 1024, 640, ("k0", "k1"), (*steps, copy), devices)


def random_collective(rng: random.Random) -> list[Step]:
    """A collective among four ranks over a few bytes of the arena, with progress and its end."""
    groups = rng.choice([((0, 1, 2, 3),), ((2, 0), (1, 3)), ((0,), (1,), (2,), (3,))])
    kind, dtype = rng.choice(COLLECTIVES), rng.choice(list(DTYPES.values()))
    reduction = rng.choice(REDUCTIONS) if kind in ("all_reduce", "reduce_scatter") else "add"
    root = rng.randrange(len(groups[0])) if kind == "collective_broadcast" else 0
    ends = place("arena", 0, 64), place("arena", 0, 512)
    start = CollectiveStart(
        kind, rng.randrange(64), *ends, rng.randrange(8), dtype, groups, reduction, root, rng.random() < 0.5, "all"
    )
    return [start, Progress(), CollectiveDone(start.slot, rng.random() < 0.5, "done with it")]


def test_round_trip() -> None:
    rng = random.Random(1)
    for plan in [EMPTY, stress(), counter(), looped(), *(random_plan(rng) for _ in range(200))]:
        data = encode(plan)
        assert decode(data) == plan
        assert encode(decode(data)) == data
        assert c_accepts(data, len(plan.kernels), len(plan.constants))


def test_text() -> None:
    assert str(stress()).splitlines() == [
        "plan stress: arena 4096 bytes, scratch 64 bytes",
        "  symbol n in 0..1024",
        "  input0 x: f32[n]",
        "  output0 y: f32[n]",
        "  output1 doubled: f32[n]",
        "  output2 total: f32[]",
        "  constant0 c: f32[]",
        "    0 scale(input0, arena+0) sizes [n, 16] tasks n/16  # double",
        "    1 barrier; reverse_add(arena+0, constant0, output0) sizes [n, 16] tasks n/16  # reverse",
        "    2 copy output1 <- arena+0, 4*n bytes  # keep",
        "    3 barrier; serial total(output0, output2) sizes [n]  # total",
        "    4 barrier; add_total(output0, output2) sizes [n, 16] tasks n/16  # add",
    ]


def test_text_is_read_back() -> None:
    """Kernels are numbered by their first launch."""
    rng = random.Random(2)
    odd = replace(counter(), name='a: arena\n"', steps=(*(replace(s, label="  # \n: ") for s in counter().steps),))
    odd = replace(odd, inputs=(replace(odd.inputs[0], name="x, donated to output0: f32[]"), *odd.inputs[1:]))
    for plan in [EMPTY, stress(), counter(), looped(), odd, *(random_plan(rng) for _ in range(100))]:
        found = parse_plan(str(plan))
        assert str(found) == str(plan)
        assert replace(found, kernels=(), steps=()) == replace(plan, kernels=(), steps=())
        launched = [plan.kernels[s.kernel] for s in walk_steps(plan.steps) if isinstance(s, Launch)]
        assert found.kernels == tuple(dict.fromkeys(launched))


def test_other_text_is_refused_by_its_line() -> None:
    rng, text = random.Random(3), str(looped())
    assert text.count("loop while") >= 1 and text.count("branch") >= 2
    for _ in range(500):
        i, j = sorted(rng.choices(range(len(text)), k=2))
        damaged = text[:i] + rng.choice(["", text[rng.randrange(len(text)) :][: rng.randrange(9)], "9" * 30]) + text[j:]
        with contextlib.suppress(ParseError):
            verify_plan(parse_plan(damaged))
    for before, after, said in (
        ("plan ", "plans ", "line 1: plans"),
        ("  0 ", "  7 ", "expected step 0"),
        ("f32[n]", "f33[n]", "expected an element type"),
        ("f32[n]", "f32[m]", "expected a size that the header declares"),
        ("branch 1:", "branch 2:", "a branch is numbered"),
        ("arena+0", "attic+0", "expected a place"),
    ):
        with pytest.raises(ParseError, match=said):
            parse_plan(text.replace(before, after))


def with_step(step: Step) -> Plan:
    return replace(stress(), steps=(step,))


DEVICES = (PlanDevice("gpu:0", "sm_80", 64),)


def on_device(**changes: Any) -> Plan:
    """A plan whose one launch is on a device, changed."""
    launch = Launch(0, (place("arena", 1),), tasks=((4, 1),), serial=True, device=1, threads=32)
    return replace(stress(), steps=(replace(launch, **changes),), devices=DEVICES)


def test_a_launch_on_a_device_prints() -> None:
    text = str(on_device(shared_bytes=512, operands=(place("arena", 1, 4),)))
    assert "  device1 gpu:0: sm_80, arena 64 bytes" in text
    assert "    0 serial scale(arena1+4) tasks 4/1 on device1 threads 32 shared 512" in text


START = CollectiveStart("all_reduce", 0, place("arena"), place("arena"), 1024, F32, ((0, 1),))


def on_device_steps(step: Step) -> Plan:
    return replace(on_device(), steps=(step,))


def test_collectives_print() -> None:
    scatter = replace(START, kind="reduce_scatter", slot=3, reduction="maximum", count=N, groups=((0, 2), (1, 3)))
    steps = (replace(START, barrier=True, label="all"), Progress(), CollectiveDone(0, True), scatter)
    assert str(replace(stress(), steps=steps)).splitlines()[-4:] == [
        "    0 barrier; start 0 all_reduce add arena+0 <- arena+0, 1024 f32 in [0,1]  # all",
        "    1 progress",
        "    2 barrier; done 0",
        "    3 start 3 reduce_scatter maximum arena+0 <- arena+0, n f32 in [0,2] [1,3]",
    ]


BROKEN = {
    "symbol m is no dimension": replace(stress(), symbols=(*stress().symbols, *dim("m", 1, 2).symbols)),
    "two symbols have the same name": replace(stress(), symbols=stress().symbols * 2),
    "names unknown symbols": replace(stress(), outputs=(PlanOutput("y", vector(dim("q", 1, 2))),)),
    "constant c: f32[n] is not static": replace(stress(), constants=(PlanConstant("c", stress().inputs[0].type),)),
    "donated to unknown output 7": replace(counter(), inputs=(replace(counter().inputs[0], donated_to=7),)),
    "takes over two inputs": replace(counter(), inputs=tuple(replace(i, donated_to=0) for i in counter().inputs)),
    "of another size": replace(counter(), outputs=(PlanOutput("next", vector(3)),)),
    "the arena's size -1": replace(stress(), arena_bytes=-1),
    "unknown kernel 7": with_step(Launch(7, ())),
    "unknown buffer output3": with_step(Launch(0, (place("output", 3),))),
    "unknown buffer heap0": with_step(Launch(0, (place("heap"),))),
    "arena+5000 lies outside": with_step(Launch(0, (place("arena", 0, 5000),))),
    "input0+-4 lies outside": with_step(Launch(0, (place("input", 0, -4),))),
    "grain 0 is below 1": with_step(Launch(0, (), (), ((4, 0),))),
    "output0 lie outside": with_step(Copy(place("output"), place("arena"), 4000)),
    "constant0 is read-only": with_step(Copy(place("constant"), place("arena"), 4)),
    "input0 is read-only": with_step(Copy(place("input"), place("arena"), 0)),
    "unknown device 2": on_device(device=2),
    "input0 is not in the memory of device 1": on_device(operands=(place("input"),)),
    "arena+0 is not in the memory of device 1": on_device(operands=(place("arena"),)),
    "arena1+65 lies outside": on_device(operands=(place("arena", 1, 65),)),
    "unknown buffer arena2": on_device(operands=(place("arena", 2),)),
    "is not serial": on_device(serial=False),
    "0 threads": on_device(threads=0),
    "1025 threads": on_device(threads=1025),
    "threads and shared memory on the host": on_device(operands=(), device=0),
    "a copy from or to a device is not serial": replace(
        on_device(), steps=(Copy(place("arena", 1), place("arena"), 4),)
    ),
    "which is on another device": replace(
        counter(), devices=DEVICES, inputs=(replace(counter().inputs[0], device=1), *counter().inputs[1:])
    ),
    "unknown slot 64": with_step(CollectiveDone(64)),
    "unknown collective gossip": with_step(replace(START, kind="gossip")),
    "unknown reduction mean": with_step(replace(START, reduction="mean")),
    "the groups do not hold each rank once": with_step(replace(START, groups=((0, 0),))),
    "the groups differ in size": with_step(replace(START, groups=((0,), (1, 2)))),
    "root 2 is no member": with_step(replace(START, root=2)),
    "4104 bytes at arena+0 lie outside": with_step(replace(START, count=1026)),
    "8192 bytes at arena+0 lie outside": with_step(replace(START, kind="all_gather", count=1024)),
    "constant0 is read-only ": replace(stress(), steps=(replace(START, count=1, destination=place("constant")),)),
    "worlds of 2 and 3 ranks": replace(stress(), steps=(START, replace(START, slot=1, groups=((0, 1, 2),)))),
    "are in the memory of two devices": on_device_steps(replace(START, count=1, destination=place("arena", 1))),
    "two devices have the same name": replace(stress(), devices=DEVICES * 2),
}


@pytest.mark.parametrize("message", BROKEN)
def test_verifier(message: str) -> None:
    with pytest.raises(VerifyError) as caught:
        verify_plan(BROKEN[message])
    assert message.strip() in str(caught.value)


def test_every_flipped_byte_is_found() -> None:
    plan = stress()
    data = encode(plan)
    for at in range(len(data)):
        damaged = data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1 :]
        with pytest.raises(ParseError):
            decode(damaged)
        assert not c_accepts(damaged, len(plan.kernels), 1)


def test_every_truncation_is_found() -> None:
    plan = stress()
    data = encode(plan)
    for end in range(len(data)):
        for damaged in (data[:end], sealed(data[HEADER.size : max(end, HEADER.size)])):
            if damaged == data:
                continue
            with pytest.raises(ParseError):
                decode(damaged)
            assert not c_accepts(damaged, len(plan.kernels), 1)


def test_damage_under_a_good_checksum_never_crashes() -> None:
    """What Python accepts, C accepts as well; neither fails in any other way than by saying no."""
    rng = random.Random(2)
    bodies = [(p, encode(p)[HEADER.size :]) for p in (stress(), counter(), *(random_plan(rng) for _ in range(6)))]
    accepted = 0
    for _ in range(4000):
        plan, body = rng.choice(bodies)
        damaged = bytearray(body)
        for _ in range(rng.choice([1, 1, 2, 5])):
            at = rng.randrange(len(damaged))
            if rng.random() < 0.5:
                damaged[at] = rng.choice([0, 1, 2, 0x7F, 0x80, 0xFF, damaged[at] ^ 1 << rng.randrange(8)])
            else:
                number = rng.choice([0, 1, 0xFFFFFFFF, 0x7FFFFFFF, 40])
                struct.pack_into("<I", damaged, min(at, len(damaged) - 4), number)
        data = sealed(bytes(damaged))
        in_c = c_accepts(data, len(plan.kernels), len(plan.constants))
        try:
            decoded = decode(data)
        except ParseError:
            continue
        accepted += 1
        counts = len(decoded.kernels), len(decoded.constants)
        assert in_c or counts != (len(plan.kernels), len(plan.constants)), decoded
    assert 50 < accepted < 3000, accepted  # names and labels may change; most else is caught


def test_other_versions_are_refused() -> None:
    data = bytearray(encode(EMPTY))
    data[4] = 9
    with pytest.raises(ParseError, match="version is 9"):
        decode(bytes(data))
    assert not c_accepts(bytes(data), 0, 0)


def test_bufferref_prints() -> None:
    assert [str(BufferRef("input", 2)), str(BufferRef("output", 0, 8)), str(BufferRef("arena", 0))] == [
        "input2", "output0+8", "arena+0",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "said",
    ["unknown device 2", "arena+0 is not in the memory of device 1", "arena1+65 lies outside", "is not serial",
     "unknown slot 64", "the groups do not hold each rank once", "root 2 is no member", "constant0 is read-only ",
     "worlds of 2 and 3 ranks", "are in the memory of two devices", "0 threads",
     "threads and shared memory on the host", "which is on another device"],
)  # fmt: skip
def test_c_refuses_it_too(said: str) -> None:
    plan = BROKEN[said]
    assert not c_accepts(encode(plan), len(plan.kernels), len(plan.constants))
    assert c_accepts(encode(on_device()), len(on_device().kernels), len(on_device().constants))
