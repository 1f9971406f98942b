from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from extraction.helpers import DEPTH, WIDTH, speech

import emotion2vec
from emotion2vec.checkpoint import load_model, save_model
from emotion2vec.errors import AudioError, ConfigError
from emotion2vec.extraction.encode import ready
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.model.features import Features


def assert_same(found: Features, expected: Features) -> None:
    np.testing.assert_allclose(found.frames, expected.frames, atol=1e-5)
    np.testing.assert_allclose(found.utterance, expected.utterance, atol=1e-5)


def test_every_kind_of_source(model: Emotion2vec, tmp_path: Path) -> None:
    path, samples = tmp_path / "clip.wav", speech(5000)
    soundfile.write(path, samples, 16_000, subtype="FLOAT")
    expected = model.extract_features(samples, 16_000)
    assert expected.frames.shape == (15, WIDTH)
    with open(path, "rb") as stream:
        for source in (path, str(path), path.read_bytes(), stream, io.BytesIO(path.read_bytes())):
            assert_same(emotion2vec.extract_features(source, model=model), expected)
    for array in (samples, samples[None], torch.from_numpy(samples)):
        assert_same(emotion2vec.extract_features(array, 16_000, model=model), expected)


def test_a_model_can_be_named(model: Emotion2vec, tmp_path: Path) -> None:
    save_model(tmp_path / "model", model.config, model.state_dict())
    features = emotion2vec.extract_features(speech(5000), 16_000, model=tmp_path / "model")
    assert_same(features, model.extract_features(speech(5000), 16_000))


def test_a_named_model_is_loaded_once_until_it_changes(
    model: Emotion2vec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[Path] = []

    def load(path: Path, device: str) -> Emotion2vec:
        loads.append(path)
        return load_model(path, device=device)  # type: ignore[return-value]

    monkeypatch.setattr(ready, "load_model", load)
    save_model(tmp_path / "model", model.config, model.state_dict())
    first = emotion2vec.extract_features(speech(5000), 16_000, model=tmp_path / "model")
    assert_same(emotion2vec.extract_features(speech(5000), 16_000, model=str(tmp_path / "model")), first)
    assert len(loads) == 1
    torch.manual_seed(1)
    save_model(tmp_path / "model", model.config, Emotion2vec(model.config).state_dict())
    other = emotion2vec.extract_features(speech(5000), 16_000, model=tmp_path / "model")
    assert len(loads) == 2 and not np.allclose(other.utterance, first.utterance)


def test_a_list_comes_back_in_its_order(model: Emotion2vec) -> None:
    lengths = [5000, 400, 16_000, 5000, 700, 5000, 30_000]
    sources = [speech(length, seed) for seed, length in enumerate(lengths)]
    for batch_seconds in (None, 0.5):
        features = emotion2vec.extract_features(sources, 16_000, model=model, batch_seconds=batch_seconds)
        for found, source in zip(features, sources, strict=True):
            assert_same(found, model.extract_features(source, 16_000))
    assert emotion2vec.extract_features([], model=model) == []
    (only,) = emotion2vec.extract_features((sources[0],), 16_000, model=model)
    assert_same(only, model.extract_features(sources[0], 16_000))


def test_the_rate_is_used(model: Emotion2vec) -> None:
    features = emotion2vec.extract_features(speech(44_100), 44_100, model=model)
    assert features.frames.shape == (49, WIDTH)


def test_layers_on_request(model: Emotion2vec) -> None:
    assert emotion2vec.extract_features(speech(5000), 16_000, model=model).layers is None
    features = emotion2vec.extract_features(speech(5000), 16_000, model=model, layers=True)
    expected = model.extract_features(speech(5000), 16_000, layers=True)
    assert features.layers is not None and expected.layers is not None
    assert features.layers.shape == (DEPTH, 15, WIDTH)
    np.testing.assert_allclose(features.layers, expected.layers, atol=1e-5)
    assert_same(features, expected)


def test_one_bad_source_is_named(model: Emotion2vec, tmp_path: Path) -> None:
    with pytest.raises(AudioError) as caught:
        emotion2vec.extract_features(tmp_path / "gone.wav", model=model)
    assert str(caught.value) == f"{tmp_path / 'gone.wav'}: cannot be opened: No such file or directory"


def test_all_bad_sources_of_a_list_are_named_at_once(model: Emotion2vec, tmp_path: Path) -> None:
    (tmp_path / "empty.wav").write_bytes(b"")
    soundfile.write(tmp_path / "good.wav", speech(5000), 16_000)
    sources: list[Path | bytes] = [
        tmp_path / "good.wav",
        tmp_path / "empty.wav",
        b"junk" * 100,
        tmp_path / "good.wav",
        tmp_path,
    ]
    with pytest.raises(AudioError) as caught:
        emotion2vec.extract_features(sources, model=model)
    lines = str(caught.value).splitlines()
    assert lines[0] == "3 of 5 sources cannot be used:"
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["source 1", "source 2", "source 4"]
    assert "empty.wav: the file is empty" in lines[1]


def test_after_a_bad_source_nothing_is_computed_in_vain(model: Emotion2vec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emotion2vec.extraction.encode.encoder.Encoder.encode", lambda *_: pytest.fail("was computed"))
    with pytest.raises(AudioError, match="1 of 2 sources"):
        emotion2vec.extract_features([speech(10), speech(5000)], 16_000, model=model)


def test_many_bad_sources_are_named_briefly(model: Emotion2vec) -> None:
    with pytest.raises(AudioError, match="1000 of 1000 sources cannot be used") as caught:
        emotion2vec.extract_features([speech(10)] * 1000, 16_000, model=model)
    assert len(str(caught.value).splitlines()) == 22 and str(caught.value).endswith("and 980 more")


def test_wrong_options_are_gathered(model: Emotion2vec) -> None:
    with pytest.raises(ConfigError, match=r"precision is 'int4'.*; workers is 0"):
        emotion2vec.extract_features(speech(5000), 16_000, model=model, precision="int4", workers=0)
