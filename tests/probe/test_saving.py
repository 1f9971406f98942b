"""A probe's head with its feature's model, as one model: what it predicts, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from finetune.talkers import write_model
from probe.stand_in import write_tones
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from emotion2vec.checkpoint import load_model
from emotion2vec.corpora.lists.tables import read_table
from emotion2vec.errors import ConfigError
from emotion2vec.extraction.api import extract_features
from emotion2vec.probe import probe
from emotion2vec.probe.heads import LogisticRegressionHead, MlpHead, SequenceHead, WeightedHead
from emotion2vec.probe.problem import Fitted, Problem


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


def tones(tmp_path: Path) -> Path:
    (tmp_path / "tones").mkdir()
    return write_tones(tmp_path / "tones")


def saved(tmp_path: Path, model: Path, head: Any, **options: Any) -> tuple[Any, list[Any]]:
    """The model that a probe of the tones leaves, and the tones."""
    table = tones(tmp_path)
    probe(table=table, model=str(model), heads=(head,), folds="speaker:2", save_model=tmp_path / "saved", **options)
    return load_model(tmp_path / "saved"), list(read_table(table).utterances)


def test_probabilities_are_those_of_scikit_learn(tmp_path: Path, model: Path) -> None:
    whole, clips = saved(tmp_path, model, LogisticRegressionHead(grid=(0.1,)), pooling="mean+std")
    plain = load_model(model)
    frames = [extract_features(clip.path, model=plain).frames for clip in clips]
    vectors = np.array([np.concatenate([one.mean(axis=0), one.std(axis=0)]) for one in map(np.asarray, frames)])
    scaled = StandardScaler().fit_transform(vectors)
    regression = LogisticRegression(C=0.1, tol=1e-6, max_iter=10_000).fit(scaled, [clip.label for clip in clips])
    for clip, expected in zip(clips, regression.predict_proba(scaled), strict=True):
        found = whole.predict(clip.path)
        assert list(found) == list(regression.classes_)
        assert list(found.values()) == pytest.approx(expected.tolist(), abs=2e-3)
    assert "logreg" in (tmp_path / "saved" / "README.md").read_text()
    assert len(whole.heard.labels) == len(clips)


@pytest.mark.parametrize(
    "head",
    [
        MlpHead(epochs=2, batch=8, precision="fp32"),
        WeightedHead(epochs=2, lr=1e-2),
        SequenceHead(name="gru", epochs=2),
    ],
    ids=lambda head: head.name,
)
def test_heads_that_stop_by_held_out_speakers_say_what_they_said_of_these(
    tmp_path: Path, model: Path, head: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits: list[tuple[Problem, Fitted]] = []
    fit = type(head).fit

    def noted(self: Any, data: Any, problem: Problem) -> Fitted:
        fits.append((problem, fit(self, data, problem)))
        return fits[-1][1]

    monkeypatch.setattr(type(head), "fit", noted)
    whole, clips = saved(tmp_path, model, head)
    problem, fitted = fits[-1]
    assert {clips[i].speaker for i in problem.valid}.isdisjoint(clips[i].speaker for i in problem.train)
    assert len(problem.valid) + len(problem.train) == len(clips)
    expected = softmax(fitted.scores / fitted.details["temperature"], axis=1)
    found = [list(whole.predict(clips[i].path).values()) for i in problem.valid]
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_what_gives_no_model_is_refused_before_training(tmp_path: Path, model: Path) -> None:
    table = tones(tmp_path)
    asked: dict[str, Any] = {"table": table, "model": str(model), "save_model": tmp_path / "saved"}
    with pytest.raises(ConfigError, match="one feature and one head, and there are 2 and 2"):
        probe(**asked, features=("mfcc",), heads=("logreg", "mlp"))
    with pytest.raises(ConfigError, match="layer is 1, and a model's head reads the last one"):
        probe(**asked, layer=1)
    with pytest.raises(ConfigError, match="select are given"):
        probe(**asked, select=True)
    with pytest.raises(ConfigError, match="feature mfcc is no model"):
        probe(table=table, features=("mfcc",), save_model=tmp_path / "saved")
    lines = table.read_text().splitlines()
    one = table.with_name("one.csv")
    one.write_text("\n".join([lines[0], *(line for line in lines[1:] if ",s0" in line)]) + "\n")
    with pytest.raises(ConfigError, match="nobody could be held out"):
        probe(**{**asked, "table": one}, folds="random")
    with pytest.raises(ConfigError, match=r"save_model is .*\.json, but a model is written into a folder"):
        probe(**{**asked, "save_model": tmp_path / "model.json"})
    assert not (tmp_path / "saved").exists()
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "mine.txt").write_text("x")
    with pytest.raises(ConfigError, match="saved, which holds something already, expected a new folder"):
        probe(**asked)
