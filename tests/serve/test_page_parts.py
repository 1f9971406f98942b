"""Parts of the page: options, ports, references, pictures, tokens."""

from __future__ import annotations

import base64
import errno
import json
import runpy
import socket
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import percentileofscore

import emotion2vec

pytest.importorskip("fastapi")

from command import run
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from emotion2vec.assets import asset_folder
from emotion2vec.errors import ConfigError
from emotion2vec.model.fingerprint import weights_hash
from emotion2vec.serve.engine import Clip
from emotion2vec.serve.guard import Guard
from emotion2vec.serve.metrics import Metrics
from emotion2vec.serve.options import ServeOptions
from emotion2vec.serve.page.cards import clip_card, clips_table
from emotion2vec.serve.page.comparison import comparison
from emotion2vec.serve.page.reference import FILE, read_reference, share_below
from emotion2vec.serve.page.run import free_port
from emotion2vec.serve.page.said import MOST, Panel, panels_of, window_for
from emotion2vec.serve.page.shelf import Shelf, peaks_of
from emotion2vec.serve.page.timeline import timeline


def test_a_port_in_use_gives_way_to_the_next_free_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said: list[str] = []
        with free_port("127.0.0.1", port, said.append) as bound:
            found = bound.getsockname()[1]
            assert found > port and said == [f"port {port} is in use, so the page is on port {found}"]
            with free_port("127.0.0.1", found, said.append) as other:
                assert other.getsockname()[1] > found
    with pytest.raises(ConfigError, match="cannot be listened on"):
        free_port("192.0.2.1", 7860, said.append)


def test_a_port_that_cannot_be_listened_on_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[socket.socket] = []

    class Deaf(socket.socket):
        def listen(self, *_: int) -> None:
            made.append(self)
            raise PermissionError(errno.EACCES, "no")

    monkeypatch.setattr(socket, "socket", Deaf)
    with pytest.raises(PermissionError):
        free_port("127.0.0.1", 0, print)
    assert [one.fileno() for one in made] == [-1]


@pytest.mark.parametrize("verb", ["demo", "serve"])
def test_a_missing_package_is_named_with_its_command(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("emotion2vec.serve.run.find_spec", lambda name: None if name == "gradio" else object())
    words = ["--no-browser"] if verb == "demo" else ["--page"]
    assert run(monkeypatch, verb, "--port", 0, *words) == 2
    assert "the page needs the package gradio: pip install 'emotion2vec[demo]'" in capsys.readouterr().err


def test_options_that_cannot_work_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "demo", "--no-browser", "--port", 99999) == 2
    assert "port is 99999, expected 0 to 65535" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", [0.05, 2.0, 5.0, 61.0, 3600.0, 7200.0])
def test_windows_suit_the_clip(seconds: float) -> None:
    window, text = window_for(seconds, None)
    assert text == "" and seconds / window <= 121
    asked, told = window_for(seconds, 0.25)
    assert seconds / asked <= MOST and (asked == 0.25) == (told == "")


@pytest.mark.parametrize("count", [1, 7, 1000, 12_345])
def test_pictures_of_waveforms_have_all_peaks(count: int) -> None:
    samples = np.random.default_rng(0).normal(size=count).astype(np.float32)
    low, high = peaks_of(samples, 100)
    parts = np.array_split(samples, low.size)
    assert low.size == min(count, 100) and low.min() == samples.min() and high.max() == samples.max()
    if count % 100 == 0:
        np.testing.assert_array_equal(high, [part.max() for part in parts])


def test_clips_give_way_when_the_shelf_is_full(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, most=2 * 4 * 1000)
    first, second = (shelf.put(Clip(name, np.ones(1000, np.float32), ())) for name in "ab")
    assert shelf.get(first.key) is first  # so that the other one was not looked at for longer
    third = shelf.put(Clip("c", np.zeros(1000, np.float32), ()))
    assert shelf.get(second.key) is None and third.is_silent and not first.is_silent
    assert {path.stem for path in tmp_path.iterdir()} == {first.key, third.key}


def test_the_reference_is_of_the_shipped_model() -> None:
    weights = weights_hash(emotion2vec.load_model("compact"))
    found = read_reference("compact", 512, weights)
    assert found is not None and "CC BY-NC-SA 4.0" in found.about
    assert {"anger", "happiness", "neutral", "sadness"} < set(found.labels)
    assert read_reference("tiny", 192, "") is None


def test_a_reference_is_made_of_any_corpus(
    root: Path, sample_speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / FILE
    words = [sample_speech, "tiny", "--about", "Synthetic.", "--rename", "angry=anger", "--output", path]
    monkeypatch.setattr(sys, "argv", ["make_reference.py", *map(str, words), "--clips", "2", "--shown", "1"])
    runpy.run_path(str(root / "examples" / "make_reference.py"), run_name="__main__")
    model = emotion2vec.load_model("tiny")
    made = read_reference(str(tmp_path), model.config.width, weights_hash(model))
    assert made is not None and "anger" in made.labels and "angry" not in made.labels
    first = min(sample_speech.glob("de1_angry_*.opus"))
    place = made.place(model.extract_features(str(first)).utterance)
    assert np.abs(made.points - place).max(axis=1).min() < 0.01
    assert (np.diff(made.same) >= 0).all() and made.same.size == made.different.size == 101


def test_a_reference_that_is_broken_is_named(tmp_path: Path) -> None:
    path = tmp_path / FILE
    for text in ("{", "[]", '{"about": "x"}'):
        path.write_text(text)
        with pytest.raises(ConfigError, match="is no reference of a model"):
            read_reference(str(tmp_path), 512, "")
    content = json.loads((asset_folder("checkpoints") / "compact" / FILE).read_text(encoding="utf-8"))
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="do not fit a model of width 256"):
        read_reference(str(tmp_path), 256, content["weights"])
    with pytest.raises(ConfigError, match="made with other weights"):
        read_reference(str(tmp_path), 512, "0" * 64)


def test_shares_are_those_of_the_distribution() -> None:
    values = np.random.default_rng(0).normal(size=5001)
    quantiles = np.percentile(values, range(101))
    for value in (-9.0, -0.5, 0.1, 2.0, 9.0):
        assert share_below(value, quantiles) == pytest.approx(percentileofscore(values, value) / 100, abs=0.003)


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Bearer secret", 200),
        ("Basic " + base64.b64encode(b"anybody:secret").decode(), 200),
        ("Basic " + base64.b64encode(b"secret:anybody").decode(), 401),
        ("Basic ???", 401),
        ("secret", 401),
        ("", 401),
    ],
)
def test_browsers_send_the_token_as_a_password(header: str, status: int) -> None:
    app = Starlette(routes=[Route("/", lambda request: PlainTextResponse("in"))])
    guard = Guard(app, ServeOptions(), "secret", Metrics(), frozenset())
    answer = TestClient(guard, base_url="http://127.0.0.1").get("/", headers={"Authorization": header})
    assert answer.status_code == status
    challenges = answer.headers.get_list("www-authenticate")
    assert challenges == ([] if status == 200 else ["Bearer", 'Basic realm="emotion2vec"'])


def test_values_and_further_heads_have_pictures_of_their_own(tmp_path: Path) -> None:
    heard = Shelf(tmp_path).put(Clip("<a>.wav", np.ones(16_000, np.float32), ()))
    model = {"heads": {"": {"values": True}, "gender": {"values": False}}}
    further = [{"gender": {"label": label, "scores": {"female": one, "male": 1 - one}}} for label, one in VOICES]
    rows = [
        {"start": 0.5 * number, "end": 0.5 * number + 0.5, "scores": {"arousal": 2.0 + number}, "further": its}
        for number, its in enumerate(further)
    ]
    panels = panels_of(model, {"scores": {"arousal": 2.5}, "further": further[0]}, rows)
    assert [panel.title for panel in panels] == ["", "gender"]
    assert panels[0].shown(2.5) == "2.50" and panels[1].shown(0.25) == "25 %" and panels[1].shown(0.001) == "< 1 %"
    low, high = panels[0].range
    assert low < 2.0 and high > 3.0 and panels[1].range == (0.0, 1.0)
    picture = timeline(heard, panels, "audio/x.wav")
    assert picture.count("ev-best") == 1 and "arousal" in picture and "<a>" not in picture
    facts = json.loads(unescape(picture.split('data-facts="')[1].split('"')[0]))
    assert [panel["best"] for panel in facts["panels"]] == [[], [0, 1]]
    assert facts["panels"][1]["rows"] == [["90 %", "10 %"], ["20 %", "80 %"]]


def test_names_and_labels_are_text(tmp_path: Path) -> None:
    hostile = "<img src=x onerror=alert(1)>'\""
    heard = Shelf(tmp_path).put(Clip(hostile, np.ones(16_000, np.float32), (hostile,), {}))
    said = {"scores": {hostile: 0.5, "b": 0.5}, "label": hostile, "confidence": 0.5}
    panel = Panel(hostile, [hostile, "b"], False, [0.0, 1.0], [[0.5, 0.5]], [0.5, 0.5], hostile)
    picture = timeline(heard, [panel], "audio/x.wav")
    content = json.loads((asset_folder("checkpoints") / "compact" / FILE).read_text(encoding="utf-8"))
    reference = read_reference("compact", 512, content["weights"])
    vectors = (np.ones(512), np.arange(512.0))
    pages = [
        clip_card(heard, [panel], [hostile], [hostile], picture),
        clips_table([(heard, said)], [hostile], "", False),
        comparison((hostile, hostile), vectors, hostile, reference),
        comparison((hostile, hostile), vectors, hostile, None),
    ]
    for page in pages:
        seen = Tags()
        seen.feed(page)
        assert "img" not in seen.found and "onerror" not in seen.attributes and hostile in seen.text


class Tags(HTMLParser):
    """Tags, attributes and text of a page, as a browser has them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


VOICES = (("female", 0.9), ("male", 0.2))
