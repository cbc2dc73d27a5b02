"""Downloads against a server on this machine: once, resumed, checked; every way to fail says what to do."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from mhmodels.errors import FileFormatError, UnknownNameError, WeightsError
from mhmodels.registry import resolve
from mhmodels.system.places import cache_path, data_path
from mhmodels.weights import write_weights
from mhmodels.weights.downloading import transfer
from mhmodels.weights.downloading.download import Digest, download
from mhmodels.weights.downloading.registered import SHIPPED, RegisteredWeights, entries, fetch, find
from mhmodels.weights.files import read_weights
from tests.weights.helpers import random_arrays
from tests.weights.server import Server, serve

CONTENT = np.random.default_rng(0).bytes(1_000_000)
DIGEST = Digest("sha256", hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy stands between this machine and itself."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[Server]:
    with serve(CONTENT) as running:
        yield running


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "x.weights.h5"


def part_of(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def test_once_and_then_never_again(server: Server, target: Path) -> None:
    assert download(server.url, target, DIGEST).read_bytes() == CONTENT
    assert download(server.url, target, DIGEST) == target
    assert server.requests == [""]
    target.write_bytes(CONTENT[:-1])
    assert download(server.url, target, DIGEST).read_bytes() == CONTENT
    assert len(server.requests) == 2
    assert not part_of(target).exists()


def test_md5_where_the_publisher_has_no_other(server: Server, target: Path) -> None:
    download(server.url, target, Digest("md5", hashlib.md5(CONTENT).hexdigest()))
    assert target.read_bytes() == CONTENT


def test_a_transfer_that_breaks_off_goes_on_from_there(server: Server, target: Path) -> None:
    server.cut = 300_000
    assert download(server.url, target, DIGEST).read_bytes() == CONTENT
    assert server.requests == ["", "bytes=300000-", "bytes=600000-", "bytes=900000-"]


def test_a_later_call_goes_on_from_there(server: Server, target: Path) -> None:
    server.cut = 100_000
    with pytest.raises(WeightsError, match=r"broke off after 400000 of 1000000 bytes; run it again, it goes on from there"):
        download(server.url, target, DIGEST)
    assert not target.exists()
    server.cut = None
    server.requests.clear()
    assert download(server.url, target, DIGEST).read_bytes() == CONTENT
    assert server.requests == ["bytes=400000-"]


def test_a_server_without_ranges_or_sizes(server: Server, target: Path) -> None:
    server.ranges = server.length = False
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT[:1234])
    assert download(server.url, target, DIGEST).read_bytes() == CONTENT
    assert server.requests == ["bytes=1234-"]


@pytest.mark.parametrize("stale", [b"an older file", CONTENT + b"and more", bytes(len(CONTENT))])
def test_the_beginning_of_another_file_is_thrown_away(server: Server, target: Path, stale: bytes) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(stale)
    assert download(server.url, target, DIGEST).read_bytes() == CONTENT


def test_a_whole_file_that_was_never_renamed_needs_no_network(target: Path) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT)
    assert download("http://127.0.0.1:9/x", target, DIGEST).read_bytes() == CONTENT


def test_another_content_does_not_count(server: Server, target: Path) -> None:
    server.content = CONTENT[::-1]
    with pytest.raises(WeightsError, match=rf"sha256 of the 1000000 bytes that came is \w+, expected {DIGEST.value}"):
        download(server.url, target, DIGEST)
    assert not target.exists()
    assert not part_of(target).exists()


@pytest.mark.parametrize("status", [404, 403, 500])
def test_what_the_server_refuses(server: Server, target: Path, status: int) -> None:
    server.status = status
    with pytest.raises(WeightsError, match=rf"the server answers {status} .*by other means and put it at {target}"):
        download(server.url, target, DIGEST)
    assert len(server.requests) == 1


def test_offline(target: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/x"
    with pytest.raises(WeightsError, match=rf"cannot be reached .*refused.*offline\? .*put it at {target}, or give weights=PATH"):
        download(url, target, DIGEST)


def test_a_server_that_never_answers(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "TIMEOUT_S", 0.2)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        with pytest.raises(WeightsError, match=r"cannot be reached .*timed out"):
            download(f"http://127.0.0.1:{deaf.getsockname()[1]}/x", target, DIGEST)


def test_other_schemes_are_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(CONTENT)
    with pytest.raises(WeightsError, match="expected an http or https address"):
        download(secret.as_uri(), tmp_path / "copy", DIGEST)


def test_a_full_disk(server: Server, target: Path) -> None:
    import resource
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(CONTENT) // 2, hard))
    try:
        with pytest.raises(WeightsError, match=r"cannot be written \(File too large\); free space"):
            download(server.url, target, DIGEST)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert download(server.url, target, DIGEST).read_bytes() == CONTENT


def test_two_at_once_download_once(server: Server, target: Path) -> None:
    threads = [threading.Thread(target=download, args=(server.url, target, DIGEST)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.read_bytes() == CONTENT
    assert server.requests == [""]


# Registered names.

ARCHITECTURE = resolve("multi_max@0.25").at(classes=4)


def register(**fields: object) -> None:
    """Adds an entry to the user's registry."""
    path = data_path() / "weights.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"format": "mhmodels.weights-registry/1", "entries": [fields]}))


def test_a_registered_name_is_downloaded_once_and_loads(tmp_path: Path) -> None:
    file = tmp_path / "x.weights.h5"
    info = write_weights(file, ARCHITECTURE, random_arrays(ARCHITECTURE))
    with serve(file.read_bytes()) as server:
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        register(name="pets", model="multi_max@0.25", url=server.url, sha256=sha256)
        entry = find("pets", ARCHITECTURE.at(input_size=64, classes=9))
        path = fetch(entry)
        assert fetch(entry) == path
        assert len(server.requests) == 1
    assert read_weights(path)[0].sha256 == info.sha256
    assert path.is_relative_to(cache_path())
    assert fetch(entry) == path, "no server is needed any more"


def test_a_foreign_file_is_imported_once(tmp_path: Path) -> None:
    file = tmp_path / "keras.h5"
    arrays = random_arrays(ARCHITECTURE)
    with h5py.File(file, "w") as opened:  # as tf.keras' save_weights laid it out
        names = list(dict.fromkeys(layer for layer, _ in arrays))
        opened.attrs["layer_names"] = [name.encode() for name in names]
        for name in names:
            roles = [role for layer, role in arrays if layer == name]
            prefix = f"{name}/depthwise_" if name.endswith("depthwise") else f"{name}/"
            stored = {f"{prefix}{role}:0": role for role in roles}
            opened.create_group(name).attrs["weight_names"] = [key.encode() for key in stored]
            for key, role in stored.items():
                opened[name][key] = arrays[name, role]
    with serve(file.read_bytes()) as server:
        md5 = hashlib.md5(file.read_bytes()).hexdigest()
        url = server.url.replace(".weights.h5", ".h5")
        register(name="pets", model="multi_max@0.25", url=url, md5=md5, foreign=True, label_set="pets", licence="CC0-1.0")
        path = fetch(find("pets", ARCHITECTURE))
    info, found = read_weights(fetch(find("pets", ARCHITECTURE)))
    assert (info.labels.name, info.licence, info.network().classes) == ("pets", "CC0-1.0", 4)
    assert all(np.array_equal(found[key], arrays[key]) for key in arrays)
    assert path.name.endswith(".weights.h5")


def test_names_for_other_networks_and_no_names() -> None:
    with pytest.raises(WeightsError, match=r"'imagenet' are of .*mobilenet_v3_large@0\.75, .*not of multi_max@0\.25"):
        find("imagenet", ARCHITECTURE)
    with pytest.raises(UnknownNameError, match="unknown weights 'imagnet'"):
        find("imagnet", ARCHITECTURE)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "a", "model": "b", "sha256": "0"}, "expected one of 'file', 'url' and 'wheel'"),
        ({"name": "a", "model": "b", "url": "http://x"}, "expected either 'sha256' or 'md5'"),
        ({"name": "a"}, "missing required field `model`"),
        ({"name": "a", "model": "b", "address": "c"}, "unknown field `address`"),
    ],
)
def test_a_user_s_registry_with_mistakes(fields: dict[str, str], message: str) -> None:
    register(**fields)
    with pytest.raises(FileFormatError, match=message):
        entries()


def test_everything_registered_exists_as_far_as_one_can_know_here() -> None:
    seen = set()
    for entry in entries():
        architecture = resolve(entry.model)
        assert (entry.name, entry.model) not in seen
        seen.add((entry.name, entry.model))
        assert find(entry.name, architecture) == entry
        digits = {"sha256": 64, "md5": 32}[entry.digest.algorithm]
        assert len(entry.digest.value) == digits or entry.digest.value == entry.sha256_prefix
        if entry.file is not None:
            info, _ = read_weights(fetch(entry))
            assert info.network().architecture_id
            assert entry.digest.algorithm == "sha256"
        elif entry.wheel is not None:
            assert entry.digest.algorithm == "sha256"
            assert entry.foreign
        else:
            assert entry.url is not None
            assert entry.url.startswith("https://")


def test_a_packaged_file_that_is_missing() -> None:
    entry = RegisteredWeights(name="gone", model="multi_max", file="gone.weights.h5", sha256="0" * 64)
    with pytest.raises(WeightsError, match=rf"{SHIPPED}/gone.weights.h5 is missing; reinstall"):
        fetch(entry)
