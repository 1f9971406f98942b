"""Data frames, in audformat's own index; data frames, data sets, arrays and bytes as sources."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from extraction.helpers import speech
from networks import tiny_config

import emotion2vec
from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.model.encoder import Emotion2vec

audformat = pytest.importorskip("audformat")
LENGTHS = {"a": 9_000, "b": 24_000, "c": 16_000}


@pytest.fixture(scope="module")
def classifier() -> Emotion2vec:
    torch.manual_seed(0)
    return Emotion2vec(tiny_config().model, labels=("angry", "sad")).eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed, (name, samples) in enumerate(LENGTHS.items()):
        soundfile.write(tmp_path / f"{name}.wav", speech(samples, seed), 16_000, subtype="FLOAT")
    return tmp_path


def test_the_index_is_the_one_that_audformat_makes(classifier: Emotion2vec, folder: Path) -> None:
    files = [str(folder / f"{name}.wav") for name in LENGTHS]
    frame = emotion2vec.predict(files, model=classifier)
    ends = [samples / 16_000 for samples in LENGTHS.values()]
    expected = audformat.segmented_index(files, [0] * 3, [pd.Timedelta(end, unit="s") for end in ends])
    pd.testing.assert_index_equal(frame.index, expected)
    for file, (_, row) in zip(files, frame.iterrows(), strict=True):
        scores = classifier.predict(file)
        assert row["score:angry"] == pytest.approx(scores["angry"], abs=1e-5)
        assert row["label"] == max(scores, key=scores.__getitem__)
    own = classifier.predict_frame(files)
    pd.testing.assert_index_equal(own.index, expected)
    pd.testing.assert_frame_equal(own, frame[own.columns], atol=1e-5)


def test_tables_of_audformat_are_sources(classifier: Emotion2vec, folder: Path) -> None:
    index = audformat.segmented_index(["a.wav", "b.wav", "b.wav"], ["0s", "0.25s", "1s"], ["0.5s", pd.NaT, "1.25s"])
    given = pd.DataFrame({"emotion": ["x", None, "y"], "speaker": ["s1", "s2", "s2"], "age": [3, 4, 5]}, index=index)
    frame = emotion2vec.predict(given, model=classifier, root=folder)
    assert frame.index.get_level_values("end").total_seconds().tolist() == [0.5, 1.5, 1.25]
    assert frame["speaker"].tolist() == ["s1", "s2", "s2"] and frame["age"].tolist() == [3, 4, 5]
    assert frame["emotion"].isna().tolist() == [False, True, False]
    database = audformat.Database("d")
    database["t"] = audformat.Table(audformat.filewise_index(["a.wav", "c.wav"]))
    database.save(str(folder / "db"))
    for name in "ac":
        (folder / "db" / f"{name}.wav").write_bytes((folder / f"{name}.wav").read_bytes())
    loaded = audformat.Database.load(str(folder / "db"))
    for source in (loaded, loaded["t"]):
        frame = emotion2vec.predict(source, model=classifier)
        assert frame.index.get_level_values("file").tolist() == ["a.wav", "c.wav"]
    index = audformat.filewise_index([str(folder / "a.wav"), str(folder / "absent.wav")])
    frame = emotion2vec.predict(index, model=classifier)
    assert len(frame) == 1 and "absent.wav" in frame.attrs["failed"][0]


def test_arrays_bytes_and_data_sets_are_sources(classifier: Emotion2vec, folder: Path) -> None:
    clips = [speech(samples, seed) for seed, samples in enumerate(LENGTHS.values())]
    frame = emotion2vec.predict(clips, 16_000, model=classifier, window=0.5)
    files = emotion2vec.predict([folder / f"{name}.wav" for name in LENGTHS], model=classifier, window=0.5)
    np.testing.assert_allclose(frame["score:sad"], files["score:sad"], atol=1e-5)
    assert [*dict.fromkeys(frame.index.get_level_values("file"))] == ["clip 0", "clip 1", "clip 2"]
    one = emotion2vec.predict((folder / "a.wav").read_bytes(), model=classifier)
    assert one["score:sad"].tolist() == pytest.approx([classifier.predict(folder / "a.wav")["sad"]], abs=1e-5)
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict(
        {"audio": [str(folder / f"{name}.wav") for name in LENGTHS], "emotion": [1, 0, 1], "speaker": ["u", "v", "v"]}
    ).cast_column("emotion", datasets.ClassLabel(names=["x", "y"]))
    for source in (data, data.cast_column("audio", datasets.Audio(16_000))):
        frame = emotion2vec.predict(source, model=classifier)
        assert frame["emotion"].tolist() == ["y", "x", "y"] and frame["speaker"].tolist() == ["u", "v", "v"]
        whole = emotion2vec.predict([folder / f"{name}.wav" for name in LENGTHS], model=classifier)
        np.testing.assert_allclose(frame["score:sad"], whole["score:sad"], atol=1e-5)


@pytest.mark.parametrize(
    ("source", "options", "error", "message"),
    [
        (pd.DataFrame({"name": ["a"]}), {}, ManifestError, "the data frame has the columns name .* expected 'file'"),
        (np.zeros(800, np.float32), {}, ConfigError, "samples in memory need their sample_rate in Hz"),
        ([3.5, object()], {}, Exception, "found a list of 2 numbers|found a pair"),
        ([object()], {}, ConfigError, "source 0 is a object, expected a path, samples, bytes"),
        ("a.wav", {"plot": Path("p"), "window": 1.0}, ConfigError, "plot is about files, expected the verb predict"),
    ],
)
def test_what_is_no_source_is_refused(source: Any, options: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        emotion2vec.predict(source, **options)
