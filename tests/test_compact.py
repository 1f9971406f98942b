"""The model that ships with the package: what is taken where no other is named, without a network."""

from __future__ import annotations

import inspect
import json
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tables import scores_of
from typer.testing import CliRunner

import emotion2vec
from emotion2vec.assets import DEFAULT_MODEL, asset_folder
from emotion2vec.cli import app
from emotion2vec.extraction import extract
from emotion2vec.extraction.predict import predict
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.report.options import PlotOptions


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **words: object) -> None:
        raise AssertionError("something asked for the network")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture(scope="module")
def compact() -> Emotion2vec:
    return emotion2vec.load_model()


@pytest.fixture
def clip(root: Path) -> Path:
    return root / "examples" / "sample_speech" / "en1_angry_1.opus"


def run(*words: object) -> str:
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 0, done.output
    return done.output


def test_folder_is_small_and_says_where_the_weights_come_from() -> None:
    folder = asset_folder("checkpoints") / DEFAULT_MODEL
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 40_000_000
    assert "Copyright (c) 2022 OpenAI" in (folder / "LICENSE").read_text(encoding="utf-8")
    assert "cc-by-nc-sa-4.0" in run("info")


def test_loads_without_a_name(compact: Emotion2vec, clip: Path) -> None:
    features = compact.extract_features(clip)
    assert features.frames.shape[1] == features.utterance.shape[0] == compact.config.width
    assert np.isfinite(features.frames).all()
    assert features.frames.std() > 0.1


def test_tells_emotions_without_any_option(clip: Path) -> None:
    row = json.loads(run("predict", clip).splitlines()[0])
    scores = scores_of(row)
    assert set(scores) == {"anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"}
    assert row["label"] == "anger" == max(scores, key=scores.__getitem__)
    assert sum(scores.values()) == pytest.approx(1, abs=1e-4)


def test_says_what_it_has_heard(compact: Emotion2vec) -> None:
    assert len(compact.heard.tensors()["labels"]) > 7_000


def test_starts_without_the_compiler_of_torch() -> None:
    code = "import sys, emotion2vec; emotion2vec.load_model(); sys.exit('sympy' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_silence_and_loud_noise_have_finite_features(compact: Emotion2vec) -> None:
    noise = np.random.default_rng(0).uniform(-1, 1, 16_000).astype(np.float32)
    for samples in (noise, np.zeros(16_000, np.float32), noise[:500]):
        assert np.isfinite(compact.extract_features(samples, 16_000).frames).all()


def test_functions_take_it(compact: Emotion2vec, clip: Path, tmp_path: Path) -> None:
    expected = compact.extract_features(clip).utterance
    np.testing.assert_allclose(emotion2vec.extract_features(clip).utterance, expected, atol=1e-5)
    extract(clip, output=tmp_path, granularity="utterance")
    np.testing.assert_allclose(np.load(tmp_path / f"{clip.stem}.npy"), expected, atol=1e-5)
    samples = np.zeros(16_000, np.float32)
    steps = list(emotion2vec.stream_features([samples], 16_000))
    assert sum(len(step.frames) for step in steps) == len(compact.extract_features(samples, 16_000).frames)


def test_every_default_is_it() -> None:
    calls = (emotion2vec.load_model, emotion2vec.extract_features, emotion2vec.stream_features, extract, predict)
    for call in calls:
        defaults = {name: item.default for name, item in inspect.signature(call).parameters.items()}
        assert defaults.get("model", defaults.get("source")) == DEFAULT_MODEL
    assert PlotOptions(output=Path("x.html")).features == (DEFAULT_MODEL,)


def test_verbs_take_it(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "compact" in run("info")
    run("extract", clip)
    assert np.load(tmp_path / "features" / f"{clip.stem}.npy").shape[1] == 512
    speech = clip.parent
    rows = (speech / "metadata.tsv").read_text(encoding="utf-8").splitlines()
    few = [row for row in rows[1:] if row.startswith("de") and ("angry" in row or "sad" in row)]
    (tmp_path / "few.tsv").write_text("\n".join([rows[0], *few]) + "\n", encoding="utf-8")
    words = ("--folds", "speaker:2", "--head", "logreg", "--output", "scores.json")
    run("probe", "--table", "few.tsv", "--root", speech, *words)
    assert json.loads((tmp_path / "scores.json").read_text())["feature"] == DEFAULT_MODEL


@pytest.mark.slow
def test_its_graph_in_int8_stays_near_it(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    done = emotion2vec.export(DEFAULT_MODEL, tmp_path / "x.onnx", int8=True)
    assert done.cosine >= 0.99
    assert done.output.stat().st_size < 0.45 * sum(4 * v.numel() for v in emotion2vec.load_model().parameters())
