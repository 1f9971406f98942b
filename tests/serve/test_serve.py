"""A server: its answers are those of the library, bad requests get a sentence, and what ends is started again."""

from __future__ import annotations

import io
import json
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile
from safetensors.numpy import load

import emotion2vec

pytest.importorskip("fastapi")
httpx = pytest.importorskip("httpx")

from serve.running import Running, Server, post, running, wait_until  # noqa: E402
from signals import start_child  # noqa: E402
from websockets.sync.client import ClientConnection, connect  # noqa: E402

from emotion2vec.serve.options import Limits, ServeOptions  # noqa: E402

SCORES = dict(rel=0, abs=2e-5)
"""How near scores are that are computed in other company."""


def connected(server: Running, asked: str = "") -> ClientConnection:
    """A stream of that server."""
    return connect(f"{server.url.replace('http', 'ws')}/v1/stream?{asked}", max_size=None, proxy=None)


def test_labels_are_those_of_the_library(server: Running, speech: Path) -> None:
    files = sorted(speech.glob("*.wav"))
    expected = emotion2vec.predict(list(map(str, files)))
    with ThreadPoolExecutor(8) as pool:  # so that several requests are computed together
        alone = list(pool.map(lambda path: post(server, "predict", path).json()["clips"][0], files))
    together = post(server, "predict", *files).json()["clips"]
    for found, other, (_, row) in zip(alone, together, expected.iterrows(), strict=True):
        assert found["label"] == other["label"] == row["label"]
        for label, score in found["scores"].items():
            assert score == pytest.approx(row[f"score:{label}"], **SCORES)
            assert score == pytest.approx(other["scores"][label], **SCORES)
    assert [one["name"] for one in together] == [path.name for path in files]


def test_windows_classes_and_abstention_are_those_of_the_library(server: Running, speech: Path) -> None:
    clip = speech / "clip3.wav"
    expected = emotion2vec.predict(str(clip), window=0.4, classes=("anger", "neutral"), abstain=0.7)
    asked = {"window": 0.4, "classes": "anger,neutral", "abstain": 0.7}
    (found,) = post(server, "predict", clip, **asked).json()["clips"]
    assert len(found["windows"]) == len(expected)
    for one, (place, row) in zip(found["windows"], expected.iterrows(), strict=True):
        assert one["start"] == pytest.approx(place[1].total_seconds()) and list(one["scores"]) == ["anger", "neutral"]
        assert one["scores"]["anger"] == pytest.approx(row["score:anger"], **SCORES)
        assert one["label"] == (row["label"] if isinstance(row["label"], str) else None)
        assert (one["label"] is None) == (one["confidence"] < 0.7)


def test_clips_are_adapted_together(server: Running, speech: Path, tmp_path: Path) -> None:
    files = []
    for number in range(32):
        samples, rate = soundfile.read(speech / f"clip{number % 10}.wav")
        files.append(tmp_path / f"{number}.wav")
        soundfile.write(files[-1], samples * (0.2 + 0.02 * number), rate)
    expected = emotion2vec.predict(list(map(str, files)), adapt=True)
    found = post(server, "predict", *files, adapt="true").json()
    for one, (_, row) in zip(found["clips"], expected.iterrows(), strict=True):
        assert one["scores"]["neutral"] == pytest.approx(row["score:neutral"], abs=1e-3)
    refused = post(server, "predict", *files[:5], adapt="true")
    assert refused.status_code == 422 and "adapt needs at least 30 clips" in refused.json()["error"]


def test_features_are_those_of_the_library(server: Running, speech: Path) -> None:
    clip = speech / "clip1.wav"
    expected = emotion2vec.extract_features(str(clip), layers=True)
    with server.client as client:
        body = clip.read_bytes()
        got = client.post("/v1/features", content=body, params={"format": "npy", "granularity": "frame"})
        frames = np.load(io.BytesIO(got.content))
        all_layers = {"format": "safetensors", "granularity": "both", "layers": "all"}
        both = load(client.post("/v1/features", content=body, params=all_layers).content)
        vector = client.post("/v1/features", content=body, params={"name": "mine"}).json()
    np.testing.assert_allclose(frames, expected.frames, atol=1e-4)
    np.testing.assert_allclose(both["frames"], expected.layers, atol=1e-4)
    np.testing.assert_allclose(both["utterance"], expected.layers.mean(axis=1), atol=1e-4)
    np.testing.assert_allclose(vector["utterance"], expected.frames.mean(axis=0), atol=1e-4)
    assert vector["name"] == "mine"


def test_live_streams_are_those_of_the_library(server: Running, speech: Path) -> None:
    samples, _ = soundfile.read(speech / "clip2.wav", dtype="int16")
    with emotion2vec.Stream(16_000, options=emotion2vec.StreamOptions(hop=0.2)) as stream:
        expected = [*stream.push(samples), *stream.finish()]
    data = samples.astype("<i2").tobytes()
    with connected(server, "hop=0.2") as socket:
        for begin in range(0, len(data), 3001):  # within samples too
            socket.send(data[begin : begin + 3001])
        socket.send("end")
        found = [json.loads(message) for message in socket]
    assert [one["start"] for one in found] == pytest.approx([one.start for one in expected])
    for one, other in zip(found, expected, strict=True):
        assert one["scores"] == pytest.approx(other.scores, abs=1e-4)
        assert one["label"] == max(other.scores, key=other.scores.__getitem__)
    with connected(server, "hop=0") as socket:
        assert "hop is 0.0, expected 0.1 to 10" in json.loads(socket.recv())["error"]
    with connected(server) as socket:
        socket.send("stop")
        assert "'stop' was sent, expected samples or 'end'" in json.loads(socket.recv())["error"]
    for asked in ("context=1e308", "hop=0.02", "sample_rate=1"):
        with connected(server, asked) as socket:
            assert f"{asked.split('=')[0]} is " in json.loads(socket.recv())["error"]
    assert server.engine._streams == 0


def test_a_stream_whose_process_has_ended_says_so(server: Running) -> None:
    from websockets.exceptions import ConnectionClosedError

    restarts = server.engine.metrics.restarts._value.get()
    with connected(server, "hop=0.2") as socket:
        socket.send(bytes(32_000))
        assert "scores" in json.loads(socket.recv(timeout=60))  # the stream is there
        (worker,) = server.engine._workers
        generation = worker.generation
        worker._process.kill()
        wait_until(lambda: worker.generation > generation and worker.facts is not None)
        with suppress(ConnectionClosedError):
            socket.send(bytes(32_000))
        said = []
        with pytest.raises(ConnectionClosedError):  # which has a code of its own
            while True:
                said.append(json.loads(socket.recv(timeout=60)))
        assert "the process ended that computed this stream" in said[-1]["error"]
    assert server.engine.metrics.restarts._value.get() == restarts + 1


def test_the_interface_describes_itself(server: Running, speech: Path) -> None:
    post(server, "predict", speech / "clip0.wav")
    with server.client as client:
        model, _ = client.get("/v1/models").json()
        assert model["name"] == "compact" and "anger" in model["heads"][""]["labels"]
        described = client.get("/openapi.json").json()
        assert {"/v1/predict", "/v1/features", "/v1/models", "/healthz", "/metrics"} <= set(described["paths"])
        counted = client.get("/metrics").text
    lines = dict(line.rsplit(" ", 1) for line in counted.splitlines() if not line.startswith("#"))
    assert float(lines['emotion2vec_requests_total{route="/v1/predict",status="200"}']) >= 1
    assert float(lines["emotion2vec_audio_seconds_total"]) > 0
    assert "elsewhere" not in counted


def test_a_process_that_is_killed_is_started_again(server: Running, speech: Path) -> None:
    restarts = server.engine.metrics.restarts._value.get()
    files = sorted(speech.glob("*.wav"))
    with ThreadPoolExecutor(10) as pool:
        waiting = [pool.submit(post, server, "predict", path) for path in files * 2]
        for child in server.engine._all:
            child._process.kill()
        answers = [one.result() for one in waiting]
    assert [one.status_code for one in answers] == [200] * 20  # asked of the new ones
    assert post(server, "predict", files[0]).status_code == 200
    assert server.engine.metrics.restarts._value.get() >= restarts + 2


def test_a_token_is_asked_for_and_a_full_server_says_when_to_come_back(speech: Path, tmp_path: Path) -> None:
    limits = Limits(queue=1, decode_seconds=1.5, answer_mb=0.01)
    with running(ServeOptions(decoders=1, limits=limits), token="secrét") as server, server.client as client:
        for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "secret"}):
            found = client.get("/v1/models", headers=given)
            assert found.status_code == 401 and "token is missing or wrong" in found.json()["error"]
        assert client.get("/healthz").status_code == 200
        bearer = {"Authorization": "Bearer secrét".encode()}
        body = (speech / "clip0.wav").read_bytes()
        with soundfile.SoundFile(tmp_path / "long.flac", "w", 96_000, 1) as stream:
            for _ in range(60):
                stream.write(np.zeros(96_000 * 60, np.int16))
        long = client.post("/v1/predict", content=(tmp_path / "long.flac").read_bytes(), headers=bearer)
        assert long.status_code == 422 and "takes longer than 1.5 s to be decoded" in long.json()["error"]
        assert client.post("/v1/predict", content=body, headers=bearer).status_code == 200  # in a new process
        frames = {"granularity": "frame"}
        found = client.post("/v1/features", content=body, headers=bearer, params=frames)
        assert found.status_code == 413 and "the answer would have" in found.json()["error"]
        assert server.engine.held_bytes == 0
        with server.engine.admitted():
            found = client.post("/v1/predict", content=body, headers=bearer)
        assert found.status_code == 429 and int(found.headers["Retry-After"]) >= 1


def test_what_was_accepted_is_answered_after_a_signal_to_end(speech: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "emotion2vec", "serve", "--port", "0", "--decoders", "1"]
    log = tmp_path / "log"
    with log.open("w") as stream:
        process = start_child(words, stderr=stream)
    try:
        wait_until(lambda: process.poll() is not None or "serving compact on " in log.read_text())
        assert process.poll() is None, log.read_text()
        one = Server(log.read_text().split("serving compact on ")[1].strip())

        def waiting() -> float:
            with one.client as client:
                counted = client.get("/metrics").text
            return float(counted.split("\nemotion2vec_requests_waiting ")[1].split()[0])

        files = sorted(speech.glob("*.wav"))
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(post, one, "predict", *files * 3) for _ in range(8)]
            wait_until(lambda: waiting() == 8)
            process.send_signal(signal.SIGTERM)
            answers = [answer.result() for answer in asked]
        assert [(answer.status_code, len(answer.json()["clips"])) for answer in answers] == [(200, 30)] * 8
        assert process.wait(60) == 0
        with pytest.raises(httpx.ConnectError):
            post(one, "predict", files[0])
    finally:
        process.kill()
        process.wait()
    assert log.read_text().splitlines()[-1] == "stopped"
