"""Requests that a server refuses: a sentence each, nothing of it in the log, and the server goes on."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("fastapi")
httpx = pytest.importorskip("httpx")

from command import run  # noqa: E402
from serve.running import Running, post  # noqa: E402


@pytest.mark.parametrize(
    ("name", "content", "status", "sentence"),
    [
        ("empty.wav", b"", 400, "empty.wav: it is empty"),
        ("text.wav", b"hello " * 50, 422, "text.wav: cannot be decoded: it is text"),
        ("noise.mp3", bytes(range(256)) * 40, 422, "noise.mp3: cannot be decoded"),
        ("cut.flac", b"fLaC\x00\x00\x00\x22" + b"\x00" * 30, 422, "cut.flac: "),
        ("../../etc/passwd", b"root:x:0:0", 422, "passwd: cannot be decoded"),
        ("list.mp4", b"ffconcat version 1.0\nfile /etc/passwd\n", 422, "list.mp4: "),
    ],
)
def test_what_is_no_audio_gets_a_sentence(
    server: Running, name: str, content: bytes, status: int, sentence: str
) -> None:
    with server.client as client:
        for route in ("predict", "features"):
            found = client.post(f"/v1/{route}", files={"file": (name, content)})
            assert (found.status_code, list(found.json())) == (status, ["error"]), found.text
            assert sentence in found.json()["error"] and "Traceback" not in found.text
        assert client.get("/healthz").json() == {"status": "ok"}


def test_requests_that_cannot_be_answered_say_why(server: Running, speech: Path, log: Path) -> None:
    clip, said = speech / "clip0.wav", log.stat().st_size
    cases = [
        ("predict", {"window": 0.001}, 422, "window is 0.001, expected 0.02 to 20 s"),
        ("predict", {"window": "1e305"}, 422, "window is 1e+305, expected 0.02 to 20 s"),
        ("predict", {"window": "nan"}, 422, "window is nan, expected"),
        ("predict", {"window": "long"}, 422, "window is 'long'"),
        ("predict", {"classes": "anger,happy"}, 422, "happy"),
        ("predict", {"abstain": 2}, 422, "abstain is 2.0, expected a probability"),
        ("predict", {"model": "other"}, 404, "other"),
        ("predict", {"channel": 3}, 422, "channel"),
        ("features", {"format": "pickle"}, 422, "format is 'pickle', expected json, npy or safetensors"),
        ("features", {"granularity": "both", "format": "npy"}, 422, "expected json or safetensors"),
        ("features", {"layers": "weights:/etc/passwd"}, 422, "names a file"),
        ("features", {"layers": "99"}, 422, "99"),
        ("features", {"layers": "0,1,0"}, 422, "a number more than once"),
        ("nothing", {}, 404, "/v1/nothing: Not Found"),
    ]
    for route, asked, status, sentence in cases:
        found = post(server, route, clip, **asked)
        assert found.status_code == status and sentence in found.json()["error"], (route, asked, found.text)
    bad = post(server, "predict", clip, Path(__file__)).json()
    assert len(bad["clips"]) == 1 and "test_refusals.py: cannot be decoded: it is text" in bad["failed"][0]
    assert log.read_bytes()[said:] == b""  # whoever asks without sense fills no log


def test_too_much_is_refused(server: Running, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    long, large, many = tmp_path / "long.flac", tmp_path / "large.wav", tmp_path / "a.wav"
    soundfile.write(long, np.zeros(21 * 16_000), 16_000)
    soundfile.write(large, np.zeros(1_100_000), 16_000)
    soundfile.write(many, np.zeros(8_000), 16_000)
    found = post(server, "predict", long)
    assert found.status_code == 413 and "long.flac: it is longer than 20 s" in found.json()["error"]
    found = post(server, "predict", large)
    assert found.status_code == 413 and "the body is larger than 2 MB" in found.json()["error"]
    with server.client as client:
        for route in ("/v1/predict", *["/gradio_api/upload"] * server.engine.options.page):
            head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.wav"\r\n\r\n'
            blocks = (head, *[b"0" * 500_000] * 5, b"\r\n--x--\r\n")
            form = {"Content-Type": "multipart/form-data; boundary=x"}
            found = client.post(route, content=iter(blocks), headers=form)  # without a length in its head
            assert found.status_code == 413 and "the body is larger than 2 MB" in found.text
            found = client.post(route, content=b"".join(blocks), headers=form)
            assert found.status_code == 413 and "the body is larger than 2 MB" in found.text
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []
    found = post(server, "predict", *[many] * 41)
    assert found.status_code == 400 and "40" in found.json()["error"]
    assert server.engine.held_bytes == 0


def test_pages_of_others_and_names_of_others_are_refused(server: Running) -> None:
    with server.client as client:
        assert client.get("/v1/models", headers={"Origin": server.url}).status_code == 200
        found = client.get("/v1/models", headers={"Origin": "http://elsewhere.org"})
        assert found.status_code == 403 and "the page that asks is of http://elsewhere.org" in found.json()["error"]
        found = client.get("/v1/models", headers={"Host": "rebound.org"})
        assert found.status_code == 421 and "the host is 'rebound.org'" in found.json()["error"]
        assert client.get("/v1/models", headers={"Host": "[::1"}).status_code == 421
        assert client.get("/v1/models", headers={"Origin": "http://["}).status_code == 403


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--port", "70000"], "port is 70000, expected 0 to 65535"),
        (["--model", "nowhere", "--decoders", "1", "--port", "0"], "nowhere"),
        (["--token-file", "nowhere"], "token_file nowhere: cannot be read"),
        (["--max-mb", "0"], "max_mb is 0.0, expected more than 0"),
    ],
)
def test_options_that_cannot_work_are_refused(
    words: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "serve", *words) == 2
    assert message in capsys.readouterr().err
