"""Servers of every kind: with and without parts of files and lengths, with lies, silent, and without an end."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import soundfile

from emotion2vec.audio.decode import remote
from emotion2vec.audio.samples import load_audio
from emotion2vec.data.storage import Range, Unreachable, read_file, read_ranges
from emotion2vec.errors import AudioError, ManifestError
from emotion2vec.extraction.sources.named import read_sources

pytest.importorskip("aiohttp")

SECONDS = 200
"""Of audio: more than fsspec asks for at once, 5 MiB."""


def encoded() -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, np.random.default_rng(0).normal(0, 0.1, 16_000 * SECONDS), 16_000, format="WAV")
    return stream.getvalue()


class Handler(BaseHTTPRequestHandler):
    """Gives what its path says."""

    content = encoded()
    ended = threading.Event()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer(b"")

    def do_GET(self) -> None:
        self._answer(self.content)

    def _answer(self, body: bytes) -> None:
        if "silent" in self.path:
            self.ended.wait(20)
            return
        if "missing" in self.path:
            self.send_error(404)
            return
        asked = self.headers.get("Range", "")
        if "endless" in self.path or "drop by drop" in self.path.replace("_", " "):
            self._never_end(bool(body))
            return
        self.send_response(206 if "parts" in self.path and asked else 200)
        if "parts" in self.path and asked:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            part = self.content[int(first) : int(last) + 1]
            self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(self.content)}")
            self.send_header("Content-Length", str(len(part)))
            body = part if body else b""
        elif "length" in self.path or "parts" in self.path:
            self.send_header("Content-Length", str(len(self.content)))
        elif "lies" in self.path:
            self.send_header("Content-Length", str(10 * len(self.content)))
        self.end_headers()
        try:
            self.wfile.write(body[: len(body) // 2] if "halting" in self.path else body)
            if "halting" in self.path and body:
                self.ended.wait(20)
        except OSError:
            pass  # nobody listens any more

    def _never_end(self, is_get: bool) -> None:
        """Bytes without end: as many as fit, or one every tenth of a second; of parts, or of what says no length."""
        parts = "parts" in self.path
        self.send_response(206 if parts and is_get else 200)
        if parts and is_get:
            self.send_header("Content-Range", f"bytes {self.headers['Range'].removeprefix('bytes=')}/1000000000")
        elif parts:
            self.send_header("Content-Length", "1000000000")
            self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        try:
            while is_get and not self.ended.is_set():
                self.wfile.write(b"x" * (1 << 20) if "endless" in self.path else b"x")
                if "endless" not in self.path:
                    self.ended.wait(0.1)
        except OSError:
            pass  # nobody listens any more


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    Handler.ended.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_port}"
        Handler.ended.set()
        found.shutdown()


@pytest.mark.parametrize("kind", ["parts", "length", "plain"])
def test_servers_without_parts_or_lengths(kind: str, server: str) -> None:
    assert load_audio(f"{server}/{kind}.wav").shape == (16_000 * SECONDS,)


@pytest.mark.parametrize("kind", ["lies", "missing"])
def test_servers_that_do_not_give_what_they_say(kind: str, server: str) -> None:
    with pytest.raises(AudioError, match=f"{kind}.wav: cannot be"):
        load_audio(f"{server}/{kind}.wav")


@pytest.mark.parametrize("kind", ["silent", "halting"])
def test_servers_that_are_silent_are_not_waited_for(kind: str, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "SILENT_SECONDS", 0.5)
    with pytest.raises(AudioError, match=r"its server was silent for 0\.5 s"):
        load_audio(f"{server}/{kind}.wav")


@pytest.mark.parametrize("kind", ["endless", "endless_parts"])
def test_servers_that_give_without_end(kind: str, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MOST_BYTES", 1 << 23 if kind == "endless" else 1 << 31)
    with pytest.raises(AudioError, match=r"its server gives more than [\d,]+ bytes"):
        load_audio(f"{server}/{kind}.wav")


@pytest.mark.parametrize("kind", ["drop_by_drop", "drop_by_drop_parts"])
def test_servers_that_give_a_byte_now_and_then(kind: str, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "SILENT_SECONDS", 0.5)
    with pytest.raises(AudioError, match=r"its server (gave .* bytes in . s, expected|gives more than 1 bytes)"):
        load_audio(f"{server}/{kind}.wav")


def test_a_file_of_a_size_that_no_audio_has(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MOST_BYTES", 1 << 20)
    with pytest.raises(AudioError, match="its server says that it has 6,400,044 bytes, expected at most 1,048,576"):
        load_audio(f"{server}/parts.wav")


@pytest.mark.parametrize("name", ["endless/*.wav", "drop_by_drop/*.wav"])
def test_folders_of_servers_that_do_not_end(name: str, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MOST_PAGE", 1 << 20)
    monkeypatch.setattr(remote, "SILENT_SECONDS", 0.5)
    with pytest.raises(ManifestError, match=r"cannot be listed: its server gave|cannot be listed: its server gives"):
        read_sources(f"{server}/{name}")


@pytest.mark.parametrize("kind", ["endless", "endless_parts", "drop_by_drop"])
def test_prepared_folders_of_servers_that_do_not_end(kind: str, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "SILENT_SECONDS", 0.5)
    with pytest.raises((Unreachable, ValueError), match=r"more than|bytes in . s"):
        read_file(f"{server}/{kind}/shards.json", most=1 << 20)


def test_the_part_that_was_asked_for_of_a_server_that_gives_all(server: str) -> None:
    whole = Handler.content
    ranges = [Range(f"{server}/plain", first, first + 1000) for first in (0, 1, 70_000, len(whole) - 1000)]
    assert read_ranges(ranges) == [whole[item.start : item.stop] for item in ranges]
