"""Heads that start where a regression ends: scikit-learn's, on what the untouched encoder says of training clips."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from finetune.talkers import quick_config
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from emotion2vec.checkpoint import load_model
from emotion2vec.errors import ConfigError
from emotion2vec.extraction.api import extract_features
from emotion2vec.finetune import heads
from emotion2vec.finetune.run import finetune
from emotion2vec.finetune.standard import read_by

STILL = ["finetune.strategy=frozen", "finetune.calibrate=false", "optim.max_updates=1"]
STILL += ["optim.warmup_updates=0", "optim.lr=1e-12", "validation.every=1", "checkpoint.every=1"]


def train(table: Path, model: Path, run: Path, *more: str) -> tuple[list[dict[str, str]], list[bool], np.ndarray]:
    """Rows of a table, which of them trained, and what the head reads of them (N, P)."""
    said: list[str] = []
    finetune(quick_config(table, model, run, *STILL, *more), said.append)
    rows = list(csv.DictReader(table.open()))
    (held,) = (line.removeprefix("held out to choose by: ") for line in said if line.startswith("held out to"))
    encoder = load_model(model)
    frames = [np.asarray(extract_features(table.with_name(row["file"]), model=encoder).frames) for row in rows]
    vectors = np.array([np.concatenate([one.mean(axis=0), one.std(axis=0)]) for one in frames])
    return rows, [row["speaker"] not in held.split(", ") for row in rows], vectors


def test_classes_by_logistic_regression(talkers: Path, model: Path, tmp_path: Path) -> None:
    rows, trained, vectors = train(talkers, model, tmp_path / "run", "finetune.solve=100")
    scaled = StandardScaler().fit(vectors[trained]).transform(vectors)
    labels = np.array([row["emotion"] for row in rows])
    whole = load_model(tmp_path / "run")
    found = [list(whole.predict(talkers.with_name(row["file"])).values()) for row in rows]
    expected = [
        LogisticRegression(C=c, tol=1e-3, max_iter=1000).fit(scaled[trained], labels[trained]).predict_proba(scaled)
        for c in (1e-3, 1e-2, 1e-1, 1.0)
    ]
    assert min(np.abs(found - one).max() for one in expected) < 5e-3 < np.abs(expected[0] - expected[1]).max()


def test_values_by_ridge_regression(talkers: Path, model: Path, tmp_path: Path) -> None:
    lines = talkers.read_text().splitlines()
    table = talkers.with_name("solved.csv")
    heights = [
        str({"anger": 90, "neutral": 50, "sadness": 10}[line.split(",")[1]] + n % 3) for n, line in enumerate(lines[1:])
    ]
    table.write_text("\n".join([lines[0] + ",arousal", *map(",".join, zip(lines[1:], heights, strict=True))]) + "\n")
    rows, trained, vectors = train(table, model, tmp_path / "run", "finetune.solve=100", "data.targets=[arousal]")
    scaled = StandardScaler().fit(vectors[trained]).transform(vectors)
    values = np.array([float(row["arousal"]) for row in rows])
    whole = load_model(tmp_path / "run")
    found = np.array([whole.predict(table.with_name(row["file"]))["arousal"] for row in rows])
    fits = [Ridge(alpha=p * sum(trained)).fit(scaled[trained], values[trained]) for p in (1e-3, 1e-2, 1e-1, 1, 10)]
    expected = [fit.predict(scaled) for fit in fits]
    assert min(np.abs(found - one).max() for one in expected) < 0.5 < np.abs(expected[-1] - expected[-2]).max()


def test_folds_share_what_the_encoder_says(
    talkers: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[int] = []

    def read(encoder: object, waveforms: list[np.ndarray], *more: object) -> np.ndarray:
        heard.append(len(waveforms))
        return read_by(encoder, waveforms, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(heads, "read_by", read)
    more = [*STILL, "finetune.solve=100", "evaluate.folds=speaker:4", "evaluate.final=false"]
    found = finetune(quick_config(talkers, model, tmp_path / "together", *more), lambda text: None).scores
    clips = len(talkers.read_text().splitlines()) - 1
    assert found is not None and 12 < sum(heard) <= clips  # and not 12 for each of four folds
    assert found.results[0].clips == clips


def test_a_head_that_goes_on_learning_is_not_solved(talkers: Path, model: Path, tmp_path: Path) -> None:
    finetune(quick_config(talkers, model, tmp_path / "first", *STILL), lambda text: None)
    said: list[str] = []
    finetune(quick_config(talkers, tmp_path / "first", tmp_path / "next", *STILL, "finetune.solve=100"), said.append)
    assert any("finetune.solve has no effect: the model's own head goes on learning" in line for line in said)


def test_what_cannot_be_solved(talkers: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"finetune.solve is 5 and head.kind attention, expected kind mean"):
        quick_config(talkers, model, tmp_path, "finetune.solve=5", "head.kind=attention")
    with pytest.raises(ConfigError, match=r"finetune.solve has 1 clip, and none of \w+, \w+; expected more"):
        finetune(quick_config(talkers, model, tmp_path, "finetune.solve=1"), lambda text: None)
