"""What tests of the machine share: a frame around instructions, a launch on arrays, and errors by kind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.ptx.errors import PtxError
from tests.ptx.memory import Memory
from tests.ptx.program import Program

Array = Any
HEAD = ".version 7.0\n.target sm_80\n.address_size 64\n"


def kernel(body: str, buffers: int = 2, shared: str = "", functions: str = "") -> str:
    """An entry ``k`` around ``body``: pointers are %rd0, %rd1, ...; %tid.x is %r0, in the grid %r1."""
    count = buffers + 1
    parameters = ",\n".join(f".param .u64 p{i}" for i in range(count))
    loads = "\n".join(f"ld.param.u64 %rd{i}, [p{i}];" for i in range(count))
    return f"""{HEAD}{functions}
    .visible .entry k({parameters}) {{
      .reg .pred %p<20>; .reg .b16 %rs<40>; .reg .b32 %r<80>; .reg .b64 %rd<80>; .reg .f32 %f<40>; .reg .f64 %fd<20>;
      {shared}
      {loads}
      mov.u32 %r0, %tid.x;
      mov.u32 %r2, %ctaid.x;
      mov.u32 %r3, %ntid.x;
      mad.lo.s32 %r1, %r2, %r3, %r0;
      {body}
      ret;
    }}"""


def run(text: str, *arrays: Array, out: Array, blocks: int = 1, threads: int = 32, shared: int = 0) -> Array:
    """What the kernel ``k`` leaves in a buffer like ``out``, after buffers of the arrays."""
    memory = Memory()
    addresses = [memory.place(x) for x in arrays]
    target = memory.allocate(out.nbytes)
    arguments = [*addresses, target, len(out)]
    extents: Any = {"grid": (blocks, 1, 1), "block": (threads, 1, 1)}
    Program(text).launch("k", **extents, arguments=arguments, memory=memory, shared_bytes=shared)
    return memory.read(target, out.nbytes).view(out.dtype).reshape(out.shape)


@contextmanager
def raises(kind: str) -> Iterator[pytest.ExceptionInfo[PtxError]]:
    with pytest.raises(PtxError) as found:
        yield found
    assert found.value.kind == kind, found.value
