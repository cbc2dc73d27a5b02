"""Servers and registries that mean ill: one message each, no traceback, no secrets, nothing outside the cache."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mhmodels.errors import FileFormatError, WeightsError
from mhmodels.registry import resolve
from mhmodels.system.addresses import public_address, without_secrets, without_secrets_of
from mhmodels.system.places import cache_path, data_path
from mhmodels.weights import Claim, read_info, write_weights
from mhmodels.weights.downloading import download, transfer
from mhmodels.weights.downloading.download import Digest
from mhmodels.weights.downloading.registered import RegisteredWeights, entries, fetch, locate
from tests.weights.helpers import random_arrays
from tests.weights.server import serve

CONTENT = np.random.default_rng(0).bytes(1000)
DIGEST = Digest("sha256", hashlib.sha256(CONTENT).hexdigest())
ARCHITECTURE = resolve("multi_max@0.25").at(classes=4)


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy stands between this machine and itself."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@contextlib.contextmanager
def answering(pieces: Sequence[bytes], pause_s: float = 0.0) -> Iterator[str]:
    """A server that sends the same bytes to every request; gives its address without a path."""
    stop = threading.Event()

    def run(listening: socket.socket) -> None:
        while not stop.is_set():
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                for piece in pieces:
                    connection.sendall(piece)
                    if pause_s and stop.wait(pause_s):
                        break

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        thread = threading.Thread(target=run, args=(listening,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            stop.set()
            listening.shutdown(socket.SHUT_RDWR)


OK = b"HTTP/1.1 200 OK\r\n"
FOUND = b"HTTP/1.1 302 Found\r\nLocation: "
ANSWERS: dict[str, tuple[bytes, str]] = {
    "no HTTP": (b"hello\r\n\r\n", r"cannot be reached \(.*hello"),
    "nothing": (b"", r"cannot be reached"),
    "a length of 5,000 digits": (OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nabc", r"sha256 of the 3 bytes that came"),
    "a length of other digits": (OK + "Content-Length: ٣\r\n\r\nabc".encode(), r"sha256 of the 3 bytes that came"),
    "a negative length": (OK + b"Content-Length: -3\r\n\r\nabc", r"sha256 of the 3 bytes that came"),
    "a petabyte": (OK + b"Content-Length: 1000000000000000\r\n\r\nabc", r"announces 1000000000000000 bytes, expected at most"),
    "ranges without end": (
        b"HTTP/1.1 206 Partial\r\nContent-Range: bytes " + b"9" * 5000 + b"-1/2\r\n\r\nabc", r"sha256 of the 3 bytes that came"
    ),
    "bad chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n", r"cannot be reached|sha256 of the"),
    "many headers": (OK + b"X: y\r\n" * 500 + b"\r\n", r"cannot be reached \(got more than 100 headers"),
    "a long line": (OK + b"X: " + b"y" * 100_000 + b"\r\n\r\n", r"cannot be reached \(.*line"),
    "to a file": (FOUND + b"file:///etc/passwd\r\n\r\n", r"the server answers 302 .*not allowed"),
    "to ftp": (FOUND + b"ftp://127.0.0.1/x\r\n\r\n", r"sends on to ftp://127\.0\.0\.1/x, expected an http"),
    "to a broken host": (FOUND + b"http://[::1\r\n\r\n", r"cannot be reached \(.*IPv6"),
    "to a long host": (FOUND + b"http://" + b"a" * 300 + b".com/\r\n\r\n", r"cannot be reached \("),
    "to a host of dots": (FOUND + b"http://a..b/\r\n\r\n", r"cannot be reached \("),
    "to a port that is none": (FOUND + b"http://127.0.0.1:x/\r\n\r\n", r"cannot be reached \("),
    "round for ever": (FOUND + b"/x\r\nConnection: close\r\n\r\n", r"the server answers 302 .*infinite loop"),
    "a bare redirect": (b"HTTP/1.1 302 Found\r\n\r\n", r"the server answers 302"),
    "a status of words": (b"HTTP/1.1 abc def\r\n\r\n", r"cannot be reached"),
}  # fmt: skip


@pytest.mark.parametrize("what", ANSWERS)
def test_answers_that_are_none(what: str, tmp_path: Path) -> None:
    answer, message = ANSWERS[what]
    with answering([answer]) as url, pytest.raises(WeightsError, match=message) as told:
        download.download(f"{url}/x.h5?token=SECRET", tmp_path / "x.weights.h5", DIGEST)
    assert "SECRET" not in str(told.value)
    assert not (tmp_path / "x.weights.h5").exists()


@pytest.mark.parametrize("head", [True, False])
def test_a_server_that_sends_a_byte_now_and_then(head: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TOTAL_S", 0.5)
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
    pieces = [bytes([byte]) for byte in whole] if head else [whole, *(b"x" for _ in range(1000))]
    with (
        answering(pieces, pause_s=0.1) as url,
        pytest.raises(WeightsError, match=r"not finished after 0\.5 s, \d+ bytes have come"),
    ):
        download.download(f"{url}/x", tmp_path / "x.weights.h5", DIGEST)


@pytest.mark.parametrize("headers", ["", "Connection: close\r\n"])
def test_the_time_limit_ends_a_body_that_has_stopped(headers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second byte would come long after the limit, and long before the server counts as silent."""
    monkeypatch.setattr(download, "TOTAL_S", 0.5)
    head = f"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n{headers}\r\n".encode()
    with (
        answering([head + b"x", b"x", b"x"], pause_s=20.0) as url,
        pytest.raises(WeightsError, match=r"not finished after 0\.5 s, 1 bytes have come"),
    ):
        download.download(f"{url}/x", tmp_path / "x.weights.h5", DIGEST)


ADDRESSES = [
    ("https://user:pass@host.org:8443/a/b.h5?X-Amz-Signature=SECRET#part", "https://host.org:8443/a/b.h5"),
    ("http://TOKEN@host/x", "http://host/x"),
    ("https://host/x.h5", "https://host/x.h5"),
    ("http://[::1", "an address that cannot be read"),
    ("s3://key:SECRET@bucket/x", "s3://bucket/x"),
]


@pytest.mark.parametrize(("address", "public"), ADDRESSES)
def test_addresses_without_their_secrets(address: str, public: str) -> None:
    assert public_address(address) == public
    assert without_secrets(f"see {address} or not") == f"see {public} or not"


SECRET = st.text("abcdefgXYZ0123456789-._~%", min_size=6, max_size=20)


@given(user=SECRET, password=SECRET, token=SECRET)
def test_no_secret_is_left(user: str, password: str, token: str) -> None:
    address = f"https://{user}:{password}@models.example.org/path/x.h5?sig={token}&other=1#{token}"
    texts = (
        public_address(address),
        without_secrets(f"cannot be reached: {address} (refused)"),
        without_secrets_of(address, f"nonnumeric port: '{password}@models.example.org'; '/path/x.h5?sig={token}' is no address"),
    )
    for text in texts:
        for secret in (user, password, token):
            assert secret not in text.replace("models.example.org/path/x.h5", "").replace("cannot be reached", "")


def test_secrets_in_an_address_are_used_and_kept_nowhere(tmp_path: Path) -> None:
    arrays = random_arrays(ARCHITECTURE)
    with h5py.File(tmp_path / "keras.h5", "w") as opened:
        names = list(dict.fromkeys(layer for layer, _ in arrays))
        opened.attrs["layer_names"] = [name.encode() for name in names]
        for name in names:
            prefix = f"{name}/depthwise_" if name.endswith("depthwise") else f"{name}/"
            stored = {f"{prefix}{role}:0": role for layer, role in arrays if layer == name}
            opened.create_group(name).attrs["weight_names"] = [key.encode() for key in stored]
            for key, role in stored.items():
                opened[name][key] = arrays[name, role]
    content = (tmp_path / "keras.h5").read_bytes()
    with serve(content) as server:
        host = server.url.removeprefix("http://").partition("/")[0]
        entry = RegisteredWeights(
            name="pets", model="multi_max@0.25", url=f"http://me:PASSWORD@{host}/w.h5?sig=SECRET/../x", foreign=True,
            sha256=hashlib.sha256(content).hexdigest().upper(),
        )  # fmt: skip
        path = fetch(entry)
        assert len(server.requests) == 1
    info = read_info(path)
    assert info is not None
    assert f"(http://{host}/w.h5)" in info.source
    for file in cache_path().rglob("*"):
        for secret in ("PASSWORD", "SECRET"):
            assert secret not in file.name
            assert secret.encode() not in file.read_bytes() if file.is_file() else True
    assert entry.public.url == f"http://{host}/w.h5"


def test_stated_sources_are_public(tmp_path: Path) -> None:
    address = "https://me:PASSWORD@host.org/w.h5?sig=SECRET"
    claim = Claim(top1=90.0, dataset=f"data of {address}", source=address)
    write_weights(
        tmp_path / "x.weights.h5", ARCHITECTURE, random_arrays(ARCHITECTURE), source=f"from {address}", accuracy=(claim,)
    )
    info = read_info(tmp_path / "x.weights.h5")
    assert info is not None
    assert (info.source, info.accuracy[0].source) == ("from https://host.org/w.h5", "https://host.org/w.h5")
    with pytest.raises(WeightsError, match=r"https://host\.org/w\.h5: an address, expected a weights file") as told:
        locate(address, ARCHITECTURE)
    assert "SECRET" not in str(told.value)


ENTRY = {"name": "pets", "model": "multi_max@0.25", "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "../../../pwned", "url": "http://x/y"}, r"registry entry '\.\./\.\./\.\./pwned': field 'name', expected"),
        ({"name": "/etc/x", "url": "http://x/y"}, r"field 'name', expected"),
        ({"name": "a\nb", "url": "http://x/y"}, r"field 'name', expected"),
        ({"name": "", "url": "http://x/y"}, r"field 'name', expected"),
        ({"name": "x" * 200, "url": "http://x/y"}, r"field 'name', expected"),
        ({"file": "../../../../etc/passwd"}, r"field 'file' is '\.\./\.\./\.\./\.\./etc/passwd', expected the name of a file"),
        ({"file": "/etc/passwd"}, r"field 'file' is '/etc/passwd', expected the name of a file"),
        ({"file": "a\\..\\b"}, r"field 'file' is .*, expected the name of a file"),
        ({"url": "file:///etc/passwd"}, r"field 'url' is 'file:///etc/passwd', expected an http"),
        ({"url": "ftp://u:PASSWORD@h/x"}, r"field 'url' is 'ftp://h/x', expected an http"),
        ({"url": "http://x/y", "sha256": "../../../x"}, r"field 'sha256' is '\.\./\.\./\.\./x', expected 64 hexadecimal"),
        ({"url": "http://x/y", "sha256": None, "md5": "0" * 31}, r"field 'md5' is '0+', expected 32 hexadecimal"),
    ],
)
def test_registries_that_lead_elsewhere(fields: dict[str, object], message: str) -> None:
    path = data_path() / "weights.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"format": "mhmodels.weights-registry/1", "entries": [{**ENTRY, **fields}]}))
    with pytest.raises(FileFormatError, match=message):
        entries()


def test_a_model_that_is_a_path_stays_in_the_cache(tmp_path: Path) -> None:
    content = b"any"
    with serve(content) as server:
        entry = RegisteredWeights(
            name="my pets",
            model="../../../model.json",
            url=f"{server.url}?a=/../../b",
            sha256=hashlib.sha256(content).hexdigest(),
        )
        path = fetch(entry)
    assert path.resolve().parent == (cache_path() / "weights").resolve()
    assert path.name == f"my_pets-.._.._.._model.json-{entry.digest.value[:12]}.weights.h5"


def test_limits_are_told_before_anything_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "LARGEST", 999)
    with serve(CONTENT) as server:
        with pytest.raises(WeightsError, match="announces 1000 bytes, expected at most 999"):
            download.download(server.url, tmp_path / "x", DIGEST)
        assert not (tmp_path / "x.part").exists()
        server.length = False
        with pytest.raises(WeightsError, match="and still coming"):
            download.download(server.url, tmp_path / "x", DIGEST)
