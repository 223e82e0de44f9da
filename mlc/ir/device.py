"""The devices of a machine as data: how fast each computes, how fast its memory is, and how fast values move between.

The first device is the host: arguments come from its memory and results go there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlc.errors import ArgumentError, TargetError
from mlc.ir.target import GPU_TARGETS, GpuTarget, named_gpu_target


@dataclass(frozen=True, slots=True)
class Device:
    """A device with memory of its own. ``flops`` are operations a second, ``bandwidth`` is bytes a second.

    ``target`` is what a GPU's kernels are made for. A device without one is a part of the host, by another name.
    """

    name: str
    flops: float = 1e11
    bandwidth: float = 2e10
    target: GpuTarget | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A way between the memories of two devices: bytes a second, and the seconds that a copy takes besides."""

    bandwidth: float = 1e10
    latency: float = 1e-5

    def seconds(self, nbytes: int) -> float:
        return self.latency + nbytes / self.bandwidth


@dataclass(frozen=True)
class Machine:
    """Devices, the host first, and the links between pairs of them (either way; a plain Link where none is given).

    ``nccl``: the GPUs of all processes have collectives of their own, so that those need not go through the host.
    """

    devices: tuple[Device, ...] = (Device("cpu:0"),)
    links: Mapping[frozenset[str], Link] = field(default_factory=dict, hash=False)
    nccl: bool = False

    @property
    def host(self) -> Device:
        return self.devices[0]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(d.name for d in self.devices)

    def device(self, name: str) -> Device:
        """The device ``name``; ``cpu`` is ``cpu:0``. Raises TargetError where there is none."""
        for d in self.devices:
            if d.name in (name, f"{name}:0"):
                return d
        raise TargetError(
            f"device {name!r} is not described; there are {', '.join(self.names)}",
            hint="describe it in MLC_DEVICES, or choose one of these",
        )

    def __str__(self) -> str:
        """The same text for machines that are the same."""
        links = sorted((sorted(ends), link.bandwidth, link.latency) for ends, link in self.links.items())
        return f"{[_words(d) for d in self.devices]} {links}{' nccl' * self.nccl}"

    def link(self, a: str, b: str) -> Link:
        return self.links.get(frozenset((a, b)), Link())


def _words(d: Device) -> tuple[object, ...]:
    return (d.name, d.flops, d.bandwidth, *([d.target.name] if d.target else []))


def parse_machine(text: str) -> Machine:
    """The machine that JSON text describes. Raises ArgumentError that names what does not fit.

    Example:
        >>> text = '{"devices": [{"name": "cpu:0"}, {"name": "cpu:1", "flops": 1e12}],'
        >>> machine = parse_machine(text + ' "links": [{"between": ["cpu:0", "cpu:1"], "bandwidth": 5e9}]}')
        >>> machine.names, machine.link("cpu:1", "cpu:0").bandwidth
        (('cpu:0', 'cpu:1'), 5000000000.0)
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _wrong(f"no JSON: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("devices"), list) or not found["devices"]:
        raise _wrong("it has no list of devices")
    devices = tuple(_device(d) for d in found["devices"])
    names = [d.name for d in devices]
    if len(set(names)) != len(names):
        raise _wrong("two devices have one name")
    links = {}
    for link in found.get("links", []):
        ends = link.get("between") if isinstance(link, dict) else None
        if not isinstance(ends, list) or len(ends) != 2 or any(e not in names for e in ends):
            raise _wrong(f"a link is between two of {', '.join(names)}, not {ends}")
        links[frozenset(map(str, ends))] = Link(
            _number(link, "bandwidth", Link().bandwidth), _number(link, "latency", Link().latency, zero=True)
        )
    return Machine(devices, links)


def _device(record: Any) -> Device:
    if not isinstance(record, dict) or not isinstance(record.get("name"), str) or not record["name"]:
        raise _wrong(f"a device has a name, which {json.dumps(record)[:60]} has not")
    plain, target = Device(record["name"]), record.get("target")
    kind = named_gpu_target(target) if isinstance(target, str) else None
    if target is not None and kind is None:
        raise _wrong(f"target is {target!r}, which is none of {', '.join(GPU_TARGETS)}")
    return Device(
        plain.name, _number(record, "flops", plain.flops), _number(record, "bandwidth", plain.bandwidth), kind
    )


def _number(record: Mapping[str, Any], key: str, default: float, zero: bool = False) -> float:
    value = record.get(key, default)
    if type(value) not in (int, float) or not (0 < value < float("inf") or (zero and value == 0)):
        raise _wrong(f"{key} is {value!r}, not a positive number")
    return float(value)


def _wrong(what: str) -> ArgumentError:
    return ArgumentError(
        f"the description of devices does not fit: {what}",
        hint='it is {"devices": [{"name": "cpu:0", "flops": 1e11, "bandwidth": 2e10}, ...], '
        '"links": [{"between": ["cpu:0", "cpu:1"], "bandwidth": 1e10, "latency": 1e-5}]}',
    )
