"""Prepared folders of strangers: whatever index, summary and archives say, it is a mistake or a fault of one clip."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import threading
import tracemalloc
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from emotion2vec.data.prepare import prepare
from emotion2vec.data.shards import INDEX, ShardSource, _from_line, _from_member
from emotion2vec.data.storage import Range, Unreachable
from emotion2vec.errors import AudioError, ManifestError

WHERE = Range("shar/recording.000000.tar", 0, 512)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "in").mkdir()
    for number in range(3):
        samples = np.random.default_rng(number).normal(0, 0.1, 8_000)
        soundfile.write(folder / "in" / f"{number}.wav", samples, 16_000)
    prepare(folder / "in", folder / "out", shard_size=2, workers=1)
    return folder / "out"


def archive(change: Any = None, *, format: int = tarfile.GNU_FORMAT) -> bytes:
    """One member of a tar, its header changed."""
    stream = io.BytesIO()
    soundfile.write(stream, np.random.default_rng(0).normal(0, 0.1, 8_000), 16_000, format="WAV")
    info = tarfile.TarInfo("a.wav")
    info.size = len(stream.getvalue())
    if change is not None:
        change(info)
    return info.tobuf(format=format) + stream.getvalue() + bytes(-info.size % 512)


def linked(kind: bytes) -> Any:
    def change(info: tarfile.TarInfo) -> None:
        info.type, info.linkname, info.size = kind, "/etc/passwd", 0

    return change


def sparse(size: int) -> bytes:
    """A GNU sparse header of 512 bytes, which says that the file has so many."""
    raw = bytearray(archive(lambda info: setattr(info, "type", tarfile.GNUTYPE_SPARSE)))
    raw[386:398], raw[398:410] = b"%011o\0" % 0, b"%011o\0" % 1
    raw[483:495] = b"%011o\0" % size
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw[:512])
    return bytes(raw)


SPARSE = ("GNU.sparse.major", "GNU.sparse.minor", "GNU.sparse.realsize")

MEMBERS = {
    "a symbolic link": archive(linked(tarfile.SYMTYPE)),
    "a hard link": archive(linked(tarfile.LNKTYPE)),
    "a device": archive(linked(tarfile.CHRTYPE)),
    "a folder": archive(linked(tarfile.DIRTYPE)),
    "a pipe": archive(linked(tarfile.FIFOTYPE)),
    "a sparse file of 8 GB": sparse((1 << 33) - 1),
    "a pax file of 1 EB": archive(lambda i: i.pax_headers.update(size=str(1 << 60)), format=tarfile.PAX_FORMAT),
    "a sparse pax file": archive(
        lambda i: i.pax_headers.update({"GNU.sparse.size": str(1 << 40), "GNU.sparse.map": "0,1"}),
        format=tarfile.PAX_FORMAT,
    ),
    "a sparse pax file of lines": archive(
        lambda i: i.pax_headers.update(dict(zip(SPARSE, ("1", "0", "9" * 18), strict=True))),
        format=tarfile.PAX_FORMAT,
    ),
    "a negative size": archive()[:124] + b"\xff" * 12 + archive()[136:],
    "half a file": archive()[:1000],
    "nothing": b"",
    "zeros": bytes(1024),
    "anything": np.random.default_rng(0).bytes(4096),
}  # fmt: skip


@pytest.mark.parametrize("kind", MEMBERS)
def test_a_member_that_is_no_plain_file_is_a_fault(kind: str) -> None:
    tracemalloc.start()
    _, found = _from_member(MEMBERS[kind], WHERE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(found, AudioError) and "does not fit its index" in str(found)
    assert peak < 10_000_000


def test_a_plain_member_is_decoded() -> None:
    key, found = _from_member(archive(), WHERE)
    assert key == "a" and isinstance(found, np.ndarray) and found.shape == (8_000,)


@pytest.mark.parametrize("damage", range(200))
def test_members_with_changed_bytes(damage: int) -> None:
    rng, raw = np.random.default_rng(damage), bytearray(archive())
    for at in rng.integers(0, 600, 3):
        raw[at] = rng.integers(256)
    _, found = _from_member(bytes(raw), WHERE)
    assert isinstance(found, AudioError | np.ndarray)


def test_lines_that_are_no_cuts(tmp_path: Path) -> None:
    source = {"type": "command", "channels": [0], "source": f"touch {tmp_path}/ran"}
    recording = {"id": "r", "sources": [source], "sampling_rate": 16_000, "num_samples": 16_000, "duration": 1.0}
    cut = {"id": "c", "start": 0, "duration": 1.0, "channel": 0, "recording": recording, "type": "MonoCut"}
    lines = [b"", b"[" * 100_000, b"{}", b"null", b'{"type": ["Cut"]}', json.dumps(cut).encode()]
    lines += [json.dumps({**cut, "recording": {**recording, "sources": []}}).encode(), b"\xff" * 40]
    for line in lines:
        _, found = _from_line(line, WHERE)
        assert isinstance(found, AudioError) and "does not fit its index" in str(found)
    assert not (tmp_path / "ran").exists()


COUNTS = [None, [], "x", [1.5], [-1, 4], [True], [10**30], {"a": 1}, [[3]], [3, 3], [1, 1]]


@pytest.mark.parametrize("counts", COUNTS)
def test_counts_that_are_missing_or_wrong(counts: Any, prepared: Path, tmp_path: Path) -> None:
    shutil.copytree(prepared, tmp_path / "p")
    summary = json.loads((tmp_path / "p" / "shards.json").read_text())
    if counts is None:
        del summary["counts"]
    else:
        summary["counts"] = counts
    (tmp_path / "p" / "shards.json").write_text(json.dumps(summary))
    with pytest.raises(ManifestError, match=r"counts is|holds no utterance|index\.bin: 48 bytes, expected"):
        ShardSource(str(tmp_path / "p"))


@pytest.mark.parametrize("seconds", ["x", -1, float("nan"), float("inf"), None, [1]])
def test_seconds_that_are_wrong(seconds: Any, prepared: Path, tmp_path: Path) -> None:
    shutil.copytree(prepared, tmp_path / "p")
    summary = json.loads((tmp_path / "p" / "shards.json").read_text())
    (tmp_path / "p" / "shards.json").write_text(json.dumps({**summary, "seconds": seconds}))
    with pytest.raises(ManifestError, match="seconds is"):
        ShardSource(str(tmp_path / "p"))


@pytest.mark.parametrize(("name", "value"), [("offset", -1), ("size", -(2**31)), ("length", -5)])
def test_places_below_zero(name: str, value: int, prepared: Path, tmp_path: Path) -> None:
    shutil.copytree(prepared, tmp_path / "p")
    index = np.fromfile(tmp_path / "p" / "index.bin", INDEX)
    index[name][1] = value
    index.tofile(tmp_path / "p" / "index.bin")
    with pytest.raises(ManifestError, match=r"index\.bin: places or lengths below 0"):
        ShardSource(str(tmp_path / "p")).entries([(0, 3)])


@pytest.mark.parametrize(("name", "value"), [("offset", 2**62), ("size", 2**31 - 1), ("size", 0)])
def test_places_beyond_the_shard(name: str, value: int, prepared: Path, tmp_path: Path) -> None:
    shutil.copytree(prepared, tmp_path / "p")
    index = np.fromfile(tmp_path / "p" / "index.bin", INDEX)
    index[name][1] = value
    index.tofile(tmp_path / "p" / "index.bin")
    source = ShardSource(str(tmp_path / "p"))
    tracemalloc.start()
    try:
        loaded = source.load(source.entries([(1, 2)]))
        assert all(isinstance(found, AudioError) for _, found in loaded)
    except Unreachable as error:
        assert "ends before byte" in str(error)
    assert tracemalloc.get_traced_memory()[1] < 50_000_000
    tracemalloc.stop()


def test_a_web_server_that_gives_whole_files_alone(prepared: Path) -> None:
    pytest.importorskip("aiohttp")

    class Quiet(SimpleHTTPRequestHandler):  # which knows nothing of parts
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(prepared))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        there = ShardSource(f"http://127.0.0.1:{server.server_port}")
        loaded = there.load(there.entries([(0, 1), (1, 3)]))
        server.shutdown()
    here = ShardSource(str(prepared))
    for (name, samples), (same, expected) in zip(loaded, here.load(here.entries([(0, 3)])), strict=True):
        assert name == same and np.array_equal(samples, expected)
