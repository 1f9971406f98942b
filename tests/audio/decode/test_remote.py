"""Servers of every kind: with and without parts of files and lengths, with lies, and silent."""

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
from emotion2vec.errors import AudioError

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
