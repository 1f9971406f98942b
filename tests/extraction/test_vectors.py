"""Vectors of utterances as tables with named columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from extraction.helpers import WIDTH, speech

from emotion2vec.errors import ConfigError
from emotion2vec.extraction.engine import extract
from emotion2vec.model.encoder import Emotion2vec


@pytest.mark.parametrize(("format", "read"), [("csv", pd.read_csv), ("xlsx", pd.read_excel)])
def test_vectors_have_named_columns(model: Emotion2vec, tmp_path: Path, format: str, read: object) -> None:
    for seed, name in enumerate("ab"):
        soundfile.write(tmp_path / f"{name}.wav", speech(16_000 + 8_000 * seed, seed), 16_000, subtype="FLOAT")
    (tmp_path / "t.csv").write_text("file,start,end\nb.wav,0.25,1\na.wav,,\n")
    path = tmp_path / f"out.{format}"
    report = extract(tmp_path / "t.csv", model=model, output=path, granularity="utterance", format=format)
    assert report.written == 2
    frame = read(path)  # type: ignore[operator]
    assert list(frame.columns) == ["file", "start", "end", *(f"f{number}" for number in range(WIDTH))]
    assert frame[["file", "start", "end"]].values.tolist() == [["b.wav", 0.25, 1.0], ["a.wav", 0.0, 1.0]]
    expected = model.extract_features(tmp_path / "a.wav").utterance
    np.testing.assert_allclose(frame.iloc[1, 3:].astype(float), expected, atol=1e-5)
    extract(tmp_path / "t.csv", model=model, output=tmp_path / "npy", granularity="utterance")
    np.testing.assert_allclose(frame.iloc[1, 3:].astype(float), np.load(tmp_path / "npy" / "a.npy"), rtol=1e-6)


def test_what_is_no_vector_is_refused(model: Emotion2vec, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", speech(16_000), 16_000)
    for options, message in (
        ({}, "format is 'csv', expected granularity utterance and one layer"),
        ({"granularity": "utterance", "layers": "all"}, "expected granularity utterance and one layer"),
    ):
        with pytest.raises(ConfigError, match=message):
            extract(tmp_path / "a.wav", model=model, output=tmp_path / "o.csv", format="csv", **options)
    with pytest.raises(ConfigError, match=r"f\.csv, but format npy is written into a folder"):
        extract(tmp_path / "a.wav", model=model, output=tmp_path / "f.csv")
