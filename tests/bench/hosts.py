"""Two network namespaces of this machine with a shaped link between them: what two hosts are to a program."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

LINK = "mlc0"  # the name of the link in both
IN_NAMESPACE = 'case "$1" in 0) pid=$2;; *) pid=$3;; esac; shift 3; exec nsenter --target "$pid" --net "$@"'


class Denied(Exception):
    """Namespaces cannot be made here; the message names what is missing or who refuses."""


@contextmanager
def two_hosts(rate: str) -> Iterator[list[str]]:
    """Words that run the command behind them on host ``$PMI_RANK``; traffic between both is shaped to ``rate`` (tc(8)).

    Raises Denied where this machine does not let us.
    """
    for program in ("unshare", "nsenter", "ip", "tc"):
        if shutil.which(program) is None:
            raise Denied(f"needs {program}, which is not here")
    hosts = [subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; read _"], **_pipes()) for _ in range(2)]  # type: ignore[call-overload]
    try:
        for host in hosts:
            if host.stdout.read(1) != b"\n":
                raise Denied(f"network namespaces are denied: {host.stderr.read().decode().strip()}")
        pids = [str(host.pid) for host in hosts]
        _do("ip", "link", "add", LINK, "netns", pids[0], "type", "veth", "peer", "name", LINK, "netns", pids[1])
        for number, pid in enumerate(pids, 1):
            _set_up(pid, f"10.77.0.{number}/24", rate)
        for pid in pids:
            _wait_for_carrier(pid)
        yield ["sh", "-c", f'set -- "$PMI_RANK" {pids[0]} {pids[1]} "$@"; {IN_NAMESPACE}', "sh"]
    finally:
        for host in hosts:
            host.communicate()  # closes its input: it ends, and the namespace with it


def environment() -> dict[str, str]:
    """What makes MPICH's ranks take the link, as if they were on two hosts."""
    return {
        "MPIR_CVAR_NOLOCAL": "1",
        "MPIR_CVAR_CH4_NETMOD": "ofi",
        "FI_PROVIDER": "tcp",
        "FI_TCP_IFACE": LINK,
    }


def _set_up(pid: str, address: str, rate: str) -> None:
    enter = ("nsenter", "--target", pid, "--net")
    _do(*enter, "ip", "address", "add", address, "dev", LINK)
    _do(*enter, "ip", "link", "set", LINK, "addrgenmode", "none")  # an IPv6 address is not usable at once
    for name in ("lo", LINK):
        _do(*enter, "ip", "link", "set", name, "up")
    _do(*enter, "tc", "qdisc", "add", "dev", LINK, "root", "tbf", "rate", rate, "burst", "256k", "latency", "20ms")


def _wait_for_carrier(pid: str) -> None:
    """Both ends have to be up before either is; libraries overlook a link that is not."""
    for _ in range(500):
        if " state UP " in _do("nsenter", "--target", pid, "--net", "ip", "-o", "link", "show", LINK):
            return
        time.sleep(0.01)
    raise Denied(f"the link {LINK} does not come up")


def _do(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Denied(f"{' '.join(command)} is denied: {done.stderr.strip()}")
    return done.stdout


def _pipes() -> dict[str, int]:
    return {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
