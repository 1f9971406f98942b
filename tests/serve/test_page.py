"""The page, without a browser: what it shows is what the library says, and bad files become sentences."""

from __future__ import annotations

import csv
import io
import json
import shutil
import socket
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from sklearn.metrics.pairwise import cosine_similarity

import emotion2vec

pytest.importorskip("gradio")

from serve.asking import Visitor, sent
from serve.running import Running

from emotion2vec.audio.samples import load_audio

SCORES = dict(rel=0, abs=2e-5)


@pytest.fixture(scope="module")
def visitor(server: Running) -> Visitor:
    return Visitor(server.url)


class Seen(HTMLParser):
    """What a browser makes of HTML: tags with their attributes, and text."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def facts(self) -> dict[str, Any]:
        """What the timeline is told."""
        (found,) = (attrs["data-facts"] for tag, attrs in self.tags if tag == "emotion-timeline")
        return json.loads(found or "")


def opened(visitor: Visitor, *files: Path, **given: Any) -> dict[str, Any]:
    """Open files; what is shown then."""
    shown = visitor.ask("ev-files", "change", {"ev-files": visitor.upload(*files), **given})
    assert shown["success"]
    return shown


def downloaded(visitor: Visitor, file: dict[str, Any]) -> bytes:
    return visitor.client.get(file["url"]).content


def test_files_of_results_are_those_of_the_library(visitor: Visitor, speech: Path, tmp_path: Path) -> None:
    text = tmp_path / "notes.wav"
    text.write_text("no sound, but a text\n" * 20)
    files = sorted(speech.glob("*.wav"))[:3]
    shown = opened(visitor, *files, text)
    expected = emotion2vec.predict(list(map(str, files)))
    rows = list(csv.DictReader(io.StringIO(downloaded(visitor, shown["ev-csv"]).decode())))
    for found, file, (_, row) in zip(rows, files, expected.iterrows(), strict=True):
        assert (found["file"], found["label"]) == (file.name, row["label"])
        for name in (name for name in found if name.startswith("score:")):
            assert float(found[name]) == pytest.approx(row[name], **SCORES)
    answer = json.loads(downloaded(visitor, shown["ev-json"]))
    assert [one["scores"]["fear"] for one in answer["clips"]] == pytest.approx(list(expected["score:fear"]), **SCORES)
    assert answer["failed"] == ["notes.wav: cannot be decoded: it is text, expected audio or video"]
    table = Seen(shown["ev-table"])
    assert "3 clips, 1 file could not be used" in table.text and answer["failed"][0] in table.text
    assert len([tag for tag, attrs in table.tags if tag == "button" and attrs.get("data-key")]) == 3


def test_windows_are_those_of_the_library(visitor: Visitor, speech: Path) -> None:
    clip = speech / "clip3.wav"
    shown = opened(visitor, clip, **{"ev-window": 0.5})
    (panel,) = Seen(shown["ev-card"]).facts["panels"]
    (whole,) = json.loads(downloaded(visitor, shown["ev-json"]))["clips"]
    assert whole["scores"]["anger"] == pytest.approx(emotion2vec.predict(str(clip))["score:anger"].iloc[0], **SCORES)
    expected = emotion2vec.predict(str(clip), window=0.5)
    scores = expected[[f"score:{label}" for label in panel["labels"]]].to_numpy()
    assert len(panel["rows"]) == len(scores)
    for row, place, its in zip(panel["rows"], panel["best"], scores, strict=True):
        assert place == its.argmax()
        assert row[place] == f"{100 * its.max():.0f} %"
    starts = [place[1].total_seconds() for place in expected.index]
    assert panel["edges"][:-1] == pytest.approx(starts, abs=1e-3)


def test_clips_are_adapted_together(visitor: Visitor, speech: Path, tmp_path: Path) -> None:
    files = []
    for number in range(30):
        samples, rate = soundfile.read(speech / f"clip{number % 10}.wav")
        files.append(tmp_path / f"{number:02}.wav")
        soundfile.write(files[-1], samples[:8000] * (0.2 + 0.02 * number), rate)
    shown = opened(visitor, *files, **{"ev-adapt": True})
    found = {
        one["name"]: one["scores"]["neutral"] for one in json.loads(downloaded(visitor, shown["ev-json"]))["clips"]
    }
    expected = emotion2vec.predict(list(map(str, files)), adapt=True)["score:neutral"]
    assert [found[file.name] for file in files] == pytest.approx(list(expected), abs=2e-3)
    assert "adapted to these clips" in shown["ev-messages"]
    few = opened(visitor, *files[:3], **{"ev-adapt": True})
    assert "adapted" not in few["ev-messages"]


def write(path: Path, kind: str) -> Path:
    """A file that is bad in some way."""
    if kind == "text":
        path.write_text("hello " * 100)
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "broken":
        path.write_bytes(b"RIFF\x24\0\0\0WAVEfmt " + bytes(range(200)))
    else:
        count = {"silence": 16_000, "50 ms": 800, "10 ms": 160, "long": 21 * 16_000}[kind]
        loud = 0.0 if kind == "silence" else 0.1
        soundfile.write(path, loud * np.random.default_rng(0).normal(size=count), 16_000)
    return path


SENTENCES = {
    "text": ("ev-messages", "it is text, expected audio or video"),
    "empty": ("ev-messages", "empty"),
    "broken": ("ev-messages", "cannot be decoded"),
    "10 ms": ("ev-messages", "too short"),
    "long": ("ev-messages", "longer than 20 s"),
    "silence": ("ev-card", "is silent: whatever a model says of it means nothing"),
    "50 ms": ("ev-card", "50 ms of sound: of less than 1 s nobody can say much"),
}


@pytest.mark.parametrize("kind", SENTENCES)
def test_bad_files_become_sentences(kind: str, visitor: Visitor, tmp_path: Path) -> None:
    shown = opened(visitor, write(tmp_path / "bad.wav", kind))
    place, sentence = SENTENCES[kind]
    assert sentence in Seen(shown[place]).text
    assert "Traceback" not in str(shown)


def test_other_rates_say_what_was_done_to_them(visitor: Visitor, speech: Path, tmp_path: Path) -> None:
    samples, _ = soundfile.read(speech / "clip0.wav")
    soundfile.write(tmp_path / "two.wav", np.stack([samples, samples], 1), 48_000)
    done = Seen(opened(visitor, tmp_path / "two.wav")["ev-card"]).text
    assert "WAV audio" in done and "48 kHz, 2 channels" in done
    assert "Mean of 2 channels taken" in done and "Resampled to 16 kHz" in done


def test_video_is_heard(visitor: Visitor, speech: Path, tmp_path: Path) -> None:
    if (program := shutil.which("ffmpeg")) is None:
        pytest.skip("needs the program ffmpeg, which makes a video")
    made = ["-f", "lavfi", "-i", "color=size=32x32:duration=1", "-i", str(speech / "clip0.wav"), tmp_path / "film.mp4"]
    subprocess.run([program, "-v", "error", *map(str, made)], check=True)
    assert "MP4 or M4A audio or video" in Seen(opened(visitor, tmp_path / "film.mp4")["ev-card"]).text


def test_the_page_plays_what_the_model_heard(visitor: Visitor, speech: Path) -> None:
    (source,) = (
        attrs["src"] for tag, attrs in Seen(opened(visitor, speech / "clip4.wav")["ev-card"]).tags if tag == "audio"
    )
    body = visitor.client.get(f"/{source}")
    samples, rate = soundfile.read(io.BytesIO(body.content), dtype="float32")
    assert rate == 16_000
    np.testing.assert_array_equal(samples, load_audio(speech / "clip4.wav"))
    part = visitor.client.get(f"/{source}", headers={"Range": "bytes=100-199"})
    assert part.status_code == 206 and part.content == body.content[100:200]
    assert visitor.client.get("/audio/other.wav").status_code == 404


def test_a_model_without_a_head_offers_features(visitor: Visitor, speech: Path) -> None:
    clip = speech / "clip5.wav"
    shown = visitor.ask("ev-model", "input", {"ev-files": visitor.upload(clip), "ev-model": "tiny"})
    assert "tiny has no head" in shown["ev-messages"] and shown["ev-csv"] is None
    assert Seen(shown["ev-card"]).facts["panels"] == []
    with np.load(io.BytesIO(downloaded(visitor, shown["ev-features"]))) as found:
        expected = emotion2vec.load_model("tiny").extract_features(str(clip)).utterance
        np.testing.assert_allclose(found["utterance"], expected[None], atol=1e-4)
        assert found["name"].tolist() == ["clip5.wav"]


def test_two_clips_are_compared(server: Running, speech: Path) -> None:
    visitor = Visitor(server.url)
    clips = [speech / "clip6.wav", speech / "clip7.wav"]
    shown = opened(visitor, *clips)
    pair = {name: shown[name] for name in ("ev-A", "ev-B")}
    for model, told in (("compact", "nEMO"), ("tiny", "tiny has no reference set")):
        text = Seen(visitor.ask("ev-A", "change", {"ev-model": model, **pair})["ev-compared"]).text
        vectors = [emotion2vec.load_model(model).extract_features(str(clip)).utterance[None] for clip in clips]
        assert f"Cosine {cosine_similarity(*vectors)[0, 0]:.3f}" in text and told in text
    alone = visitor.ask("ev-A", "change", {"ev-A": pair["ev-A"], "ev-B": None})
    assert "Open or record two clips" in alone["ev-compared"]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/etc/hostname", "was not uploaded by a user"),
        ("http://localhost:1/a.wav", "an address was sent in place of a file"),
        ("https://example.com/a.wav", "an address was sent in place of a file"),
    ],
)
def test_files_of_the_machine_and_addresses_are_not_taken(
    path: str, reason: str, visitor: Visitor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    host, look_up, asked = visitor.client.base_url.host, socket.getaddrinfo, list[str]()

    def watched(name: str, *rest: Any, **words: Any) -> Any:
        if name == host:
            return look_up(name, *rest, **words)
        asked.append(name)
        raise OSError("another machine")

    monkeypatch.setattr(socket, "getaddrinfo", watched)
    assert not visitor.ask("ev-files", "change", {"ev-files": [sent(path)]})["success"]
    assert visitor.client.get(f"/gradio_api/file={path}").status_code in (403, 404)
    assert asked == [] and reason in capsys.readouterr().err


@pytest.mark.parametrize(
    "path", ["proxy=http://localhost:1/", "runs", "run-history/buckets", "vibe-code", "stream/a/b/1/playlist.m3u8"]
)
def test_what_the_page_does_not_need_is_closed(path: str, visitor: Visitor) -> None:
    answer = visitor.client.get(f"/gradio_api/{path}")
    assert answer.status_code == 404 and "Not Found" in answer.json()["error"]


def test_the_interface_is_where_it_was(visitor: Visitor, speech: Path) -> None:
    assert visitor.client.get("/healthz").json() == {"status": "ok"}
    body = (speech / "clip0.wav").read_bytes()
    assert visitor.client.post("/v1/predict", content=body).status_code == 200
    assert visitor.client.get("/", headers={"Origin": "http://elsewhere"}).status_code == 403
