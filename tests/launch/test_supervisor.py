"""What `mlc launch` promises of any program: its ranks' output and end, and that nothing is left of them."""

from __future__ import annotations

import mmap
import os
import signal
import textwrap
import time
from pathlib import Path

import pytest

from mlc.cli import main
from mlc.launch.shared_memory import Segments
from tests.launch.launching import MPIS, needs, processes_with, start, wait_for

RANK = "rank = int(os.environ['MLC_RANK'])"
pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")


def program(folder: Path, body: str) -> Path:
    path = folder / "program.py"
    path.write_text(f"import os, signal, subprocess, sys, time\n{RANK}\n{textwrap.dedent(body)}")
    return path


@pytest.mark.parametrize("mpi", MPIS)
def test_lines_come_whole_behind_their_rank(mpi: str, tmp_path: Path) -> None:
    path = program(
        tmp_path,
        """
        assert os.environ["MLC_COLLECTIVE_TIMEOUT"] == "50"
        assert os.environ.get("PMI_RANK", os.environ.get("OMPI_COMM_WORLD_RANK")) == os.environ["MLC_RANK"]
        print(rank, sys.argv[1:], os.environ["MLC_WORLD_SIZE"], os.environ["MLC_NUM_THREADS"])
        print(str(rank) * 100_000, "end")
        sys.stdout.write("no newline")
        print("to stderr", file=sys.stderr)
        """,
    )
    options = ("-n", "2", "--mpi", mpi)
    code, out, err = start(path, "--flag", "a b", options=options, MLC_COLLECTIVE_TIMEOUT="50").end()
    assert code == 0, err
    threads = max(1, len(os.sched_getaffinity(0)) // 2)
    for rank in "01":
        mine = [line.removeprefix(f"[{rank}] ") for line in out.splitlines() if line.startswith(f"[{rank}] ")]
        assert mine[0].startswith(f"{rank} ['--flag', 'a b'] 2 ") and 1 <= int(mine[0].split()[-1]) <= threads
        assert mine[1:] == [rank * 100_000 + " end", "no newline"]
        assert f"[{rank}] to stderr" in err.splitlines()
    assert len(out.splitlines()) == 6


@pytest.mark.parametrize("mpi", MPIS)
@pytest.mark.parametrize(
    ("how", "code", "words"),
    [
        ("sys.exit(7)", 7, "ended with exit code 7"),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137, "was killed by SIGKILL"),
    ],
)
def test_the_rank_that_fails_is_named_and_all_end(mpi: str, how: str, code: int, words: str, tmp_path: Path) -> None:
    path = program(
        tmp_path,
        f"""
        subprocess.Popen(["setsid", "sleep", "300"])  # in a session of its own
        print("begins")
        if rank == 1:
            time.sleep(0.3)
            {how}
        time.sleep(300)
        """,
    )
    got, out, err = start(path, options=("-n", "2", "--mpi", mpi)).end()
    assert got == code, err
    assert "mlc launch: rank 1 (process " in err and words in err
    assert sorted(out.splitlines()) == ["[0] begins", "[1] begins"]


@pytest.mark.parametrize("mpi", MPIS)
@pytest.mark.parametrize(("number", "code"), [("SIGKILL", 137), ("SIGSTOP", 75), ("SIGTERM", 143)])
def test_what_watches_a_rank_is_no_weak_point(mpi: str, number: str, code: int, tmp_path: Path) -> None:
    body = f"""
        if rank == 1:
            os.kill(os.getppid(), signal.{number})
        time.sleep(300)
        """
    options = ("-n", "3", "--mpi", mpi, "--timeout", "0.5")
    got, _, err = start(program(tmp_path, body), options=options).end()
    assert got == code and "rank 1 (process " in err


@needs("mpich")
def test_an_exception_is_the_rank_s_own_traceback(tmp_path: Path) -> None:
    path = program(tmp_path, "if rank == 0:\n    raise ValueError('so it is')\ntime.sleep(300)")
    code, _, err = start(path, options=("-n", "2", "--mpi", "mpich")).end()
    assert code == 1 and "[0] ValueError: so it is" in err and "runpy" not in err


@pytest.mark.parametrize("mpi", MPIS)
def test_an_interrupt_ends_all(mpi: str, tmp_path: Path) -> None:
    path = program(
        tmp_path,
        """
        try:
            open(f"{sys.argv[1]}/{rank}", "w").close()
            time.sleep(300)
        finally:
            print("cleans up")
        """,
    )
    job = start(path, tmp_path, options=("-n", "2", "--mpi", mpi, "--restarts", "3"))
    for rank in "01":
        wait_for(tmp_path / rank)
    job.process.send_signal(signal.SIGINT)
    code, out, err = job.end()
    assert code == 130 and "Traceback" not in err
    assert sorted(out.splitlines()) == ["[0] cleans up", "[1] cleans up"]


@needs("mpich")
def test_what_a_terminal_cannot_show_does_not_end_the_job(tmp_path: Path) -> None:
    path = program(tmp_path, "sys.stdout.buffer.write('\\u03bb\\n'.encode() + b'\\xff\\n')")
    code, out, err = start(path, options=("-n", "1", "--mpi", "mpich"), PYTHONIOENCODING="ascii").end()
    assert code == 0 and out == "[0] ?\n[0] ?\n", err


@needs("mpich")
def test_a_hangup_is_ignored_under_nohup_and_ends_the_job_otherwise(tmp_path: Path) -> None:
    body = """
        open(f"{sys.argv[1]}/{rank}", "w").close()
        while not os.path.exists(f"{sys.argv[1]}/end"):
            time.sleep(0.05)
        print("ends")
        """
    path, options = program(tmp_path, body), ("-n", "1", "--mpi", "mpich")
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        job = start(path, tmp_path, options=options)
    finally:
        signal.signal(signal.SIGHUP, before)
    wait_for(tmp_path / "0")
    job.process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    (tmp_path / "end").touch()
    code, out, _ = job.end()
    assert code == 0 and out == "[0] ends\n"
    for name in ("0", "end"):
        (tmp_path / name).unlink()
    job = start(path, tmp_path, options=options)
    wait_for(tmp_path / "0")
    job.process.send_signal(signal.SIGHUP)
    assert job.end()[0] == 128 + signal.SIGHUP


@needs("mpich")
def test_who_ignores_an_interrupt_is_killed_at_the_second(tmp_path: Path) -> None:
    body = """
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        open(f"{sys.argv[1]}/{rank}", "w").close()
        time.sleep(300)
        """
    job = start(program(tmp_path, body), tmp_path, options=("-n", "1", "--mpi", "mpich"))
    wait_for(tmp_path / "0")
    job.process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    job.process.send_signal(signal.SIGINT)
    assert job.end()[0] == 130


@pytest.mark.parametrize("mpi", MPIS)
def test_the_ranks_do_not_outlive_their_supervisor(mpi: str, tmp_path: Path) -> None:
    body = 'open(f"{sys.argv[1]}/{rank}", "w").close()\ntime.sleep(300)'
    job = start(program(tmp_path, body), tmp_path, options=("-n", "2", "--mpi", mpi), TMPDIR=str(tmp_path))
    for rank in "01":
        wait_for(tmp_path / rank)
    job.process.kill()
    job.process.wait()
    deadline = time.monotonic() + 30
    while processes_with(job.token):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@needs("mpich")
def test_shared_memory_of_killed_ranks_is_removed_and_no_other(tmp_path: Path) -> None:
    ours, foreign = Path(f"/dev/shm/mlc_test_{os.getpid()}_ours"), Path(f"/dev/shm/mlc_test_{os.getpid()}_foreign")
    body = """
        import mmap
        for name in sys.argv[1:]:
            file = open(name, "a+b")
            file.truncate(4096)
            globals()[name] = mmap.mmap(file.fileno(), 4096)
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)
        """
    try:
        foreign.write_bytes(b"\0" * 4096)
        job = start(program(tmp_path, body), ours, foreign, options=("-n", "2", "--mpi", "mpich"))
        assert job.end()[0] == 137
        assert not ours.exists() and foreign.exists()
    finally:
        ours.unlink(missing_ok=True)
        foreign.unlink(missing_ok=True)


@pytest.mark.parametrize("mpi", MPIS)
@pytest.mark.parametrize(("number", "code", "how"), [("SIGKILL", 137, "killed"), ("SIGSTOP", 75, "stopped")])
def test_what_an_mpi_leaves_behind_is_removed(mpi: str, number: str, code: int, how: str, tmp_path: Path) -> None:
    """Its segments in shared memory and its folders, after a rank was killed or stopped in the middle of a job."""
    body = f"""
        subprocess.Popen(["setsid", "sleep", "300"])  # in a session of its own
        import ctypes
        library = ctypes.CDLL(os.environ["MLC_MPI"], mode=ctypes.RTLD_GLOBAL)
        assert library.MPI_Init(None, None) == 0
        for line in open("/proc/self/maps"):
            if "/dev/shm/" in line:
                print(line[line.index("/") :].strip())
        if rank == 1:
            os.kill(os.getpid(), signal.{number})
        time.sleep(300)
        """
    folder = tmp_path / "temporary"
    folder.mkdir()
    options = ("-n", "2", "--mpi", mpi, "--timeout", "0.5")
    got, out, err = start(program(tmp_path, body), options=options, TMPDIR=str(folder)).end()
    segments = {line.partition(" ")[2] for line in out.splitlines()}
    assert got == code and segments, err
    assert "mlc launch: rank 1 (process " in err and f"was {how} by {number}" in err
    assert not [path for path in segments if Path(path).exists()] and not list(folder.iterdir())


EARLY = "os.kill(os.getpid(), signal.SIGKILL)"
UNREAD = "for i in range(20000): print('y' * 100)"


@needs("mpich")
@pytest.mark.parametrize("end", [EARLY, UNREAD])
def test_what_nobody_saw_an_mpi_map_is_removed(end: str, tmp_path: Path) -> None:
    """All ranks are killed before anybody looks at them, or nobody reads any more what the job prints."""
    body = f"""
        import ctypes
        library = ctypes.CDLL(os.environ["MLC_MPI"], mode=ctypes.RTLD_GLOBAL)
        maps = lambda: [line[line.index("/") :].strip() for line in open("/proc/self/maps") if "/dev/shm/" in line]
        before = {{*maps()}}
        assert library.MPI_Init(None, None) == 0
        with open(f"{{sys.argv[1]}}/{{rank}}", "w") as file:
            print(*({{*maps()}} - before), sep="\\n", file=file)
        {end}
        """
    job = start(program(tmp_path, body), tmp_path, options=("-n", "2", "--mpi", "mpich"))
    if end == UNREAD:
        assert job.process.stdout is not None and job.process.stdout.readline().startswith("[")
        job.process.stdout.close()
        job.process.stdout = None
    code = job.end()[0]
    segments = {line for rank in "01" for line in (tmp_path / rank).read_text().split()}
    assert code and segments and not [path for path in segments if Path(path).exists()]


def test_segments_that_others_use_or_made_before_are_left_alone() -> None:
    """Named as an MPI's or not: what a living process has open or mapped, and what was there at the beginning."""
    paths = [Path(f"/dev/shm/{name}_{os.getpid()}") for name in ("mpich_shm_a", "sm_segment.b", "mpich_shm_c", "mine")]
    before, opened, mapped, unnamed = paths
    left = Path(f"/dev/shm/vader_segment.{os.getpid()}")
    try:
        before.write_bytes(bytes(8))
        segments = Segments()
        for path in (opened, mapped, unnamed, left):
            path.write_bytes(bytes(8))
        with mapped.open("r+b") as file:
            memory = mmap.mmap(file.fileno(), 0)
        with opened.open(), memory:
            assert str(left) in segments.remove()
        assert [path.exists() for path in (*paths, left)] == [True] * 4 + [False]
    finally:
        for path in (*paths, left):
            path.unlink(missing_ok=True)


@needs("mpich")
def test_a_lost_rank_is_started_again_as_often_as_allowed(tmp_path: Path) -> None:
    path = program(
        tmp_path,
        """
        print("start", os.environ["MLC_RESTART"])
        if rank == 1 and int(os.environ["MLC_RESTART"]) < int(sys.argv[1]):
            os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    options = ("-n", "2", "--mpi", "mpich", "--restarts", "1")
    code, out, err = start(path, "1", options=options, TMPDIR=str(tmp_path)).end()
    assert code == 0 and "[0] start 1" in out and "[1] start 1" in out
    assert err.count("was killed by SIGKILL") == 1 and "starting again from the last checkpoint (1 of 1)" in err
    code, out, err = start(path, "2", options=options, TMPDIR=str(tmp_path)).end()
    assert code == 137 and "start 2" not in out and err.count("was killed by SIGKILL") == 2
    assert [p.name for p in tmp_path.iterdir()] == ["program.py"]  # no run folder is left


@needs("mpich")
def test_what_fails_the_same_way_every_time_is_not_started_again(tmp_path: Path) -> None:
    path = program(tmp_path, "import mlc\nfrom mlc.errors import UnsupportedError\nraise UnsupportedError('not here')")
    code, _, err = start(path, options=("-n", "2", "--mpi", "mpich", "--restarts", "3")).end()
    assert code == 3 and "starting again" not in err


@pytest.mark.parametrize("mpi", MPIS)
def test_a_rank_that_leaves_before_the_others_is_named(mpi: str, tmp_path: Path) -> None:
    """It has joined MPI and ends well without leaving it: its launcher ends the others, which are not to blame."""
    body = """
        import ctypes
        library = ctypes.CDLL(os.environ["MLC_MPI"], mode=ctypes.RTLD_GLOBAL)
        assert library.MPI_Init(None, None) == 0
        if rank == 1:
            os._exit(0)
        time.sleep(300)
        """
    code, _, err = start(program(tmp_path, body), options=("-n", "3", "--mpi", mpi)).end()
    assert code and "rank 1 had ended before the others" in err and "rank 2 (process" not in err


@needs("mpich")
def test_a_launcher_that_fails_says_why(tmp_path: Path) -> None:
    broken = tmp_path / "mpiexec.hydra"
    broken.write_text("#!/bin/sh\necho no host file >&2\nexit 9\n")
    broken.chmod(0o755)
    code, _, err = start(program(tmp_path, ""), options=("-n", "2", "--mpi", str(broken))).end()
    assert code == 9 and "no host file" in err and "mpiexec.hydra ended with code 9" in err


SRUN = """#!/usr/bin/env python3
import os, subprocess, sys
words = sys.argv[1:]
assert words[0] == "-n", words
count = int(words[1])
program = words[next(i for i in range(2, len(words)) if not words[i].startswith("-")):]
ranks = [subprocess.Popen(program, env={**os.environ, "SLURM_PROCID": str(r), "SLURM_NTASKS": str(count)})
         for r in range(count)]
codes = [rank.wait() for rank in ranks]
sys.exit(max(codes))
"""


def test_under_slurm_srun_starts_the_ranks(tmp_path: Path) -> None:
    """A script in the place of srun: it is found, given the count, and its ranks are watched like any others."""
    srun = tmp_path / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text(SRUN)
    srun.chmod(0o755)
    path = program(tmp_path, "print(rank, os.environ['SLURM_NTASKS'])\nif rank == 2:\n    sys.exit(9)")
    search = f"{srun.parent}{os.pathsep}{os.environ['PATH']}"
    code, out, err = start(path, options=("-n", "3"), PATH=search, SLURM_JOB_ID="17").end()
    assert sorted(out.splitlines()) == ["[0] 0 3", "[1] 1 3", "[2] 2 3"]
    assert code == 9 and "rank 2 (process " in err


@pytest.mark.parametrize("words", [["-n", "0"], ["-n", "two"], []])
def test_usage(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["launch", *words, str(program(tmp_path, ""))])
    assert ended.value.code == 2 and "-n" in capsys.readouterr().err
