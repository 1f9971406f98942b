"""Features of other packages, where they are installed; without them, the message that says how to install them."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from foreign import write_encoder
from networks import tiny_config
from probe.stand_in import clip_of

from emotion2vec.audio.samples import load_audio
from emotion2vec.checkpoint import load_model, save_model
from emotion2vec.errors import CheckpointError, ConfigError
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.probe.features.names import make_extractor


@pytest.mark.parametrize(
    ("feature", "package"),
    [("egemaps", "opensmile"), ("text:x", "transformers"), ("torchaudio:x", "torchaudio")],
)
def test_a_missing_package_is_named(feature: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, package, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Absent(package), *sys.meta_path])
    with pytest.raises(ConfigError, match=f"pip install {package}"):
        make_extractor(feature)


class Absent:
    """Makes one package look as if it were not installed."""

    def __init__(self, package: str):
        self.package = package

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == self.package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_a_hugging_face_model(sample_speech: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.Wav2Vec2Config(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=64,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )
    model = transformers.Wav2Vec2Model(config).eval()
    model.save_pretrained(tmp_path / "model")
    prepare = transformers.Wav2Vec2FeatureExtractor()
    prepare.save_pretrained(tmp_path / "model")
    clip = sample_speech / "de1_angry_1.opus"
    inputs = prepare(load_audio(clip), sampling_rate=16_000, return_tensors="pt")
    with torch.inference_mode():
        expected = model(inputs.input_values).last_hidden_state[0].numpy()
    (found,) = make_extractor(f"hf:{tmp_path / 'model'}").extract([clip_of(clip)])
    assert not isinstance(found, str) and found.frames is not None
    np.testing.assert_allclose(found.frames, expected, rtol=1e-4, atol=1e-5)
    (joined,) = make_extractor(f"hf:{tmp_path / 'model'}", layer="all").extract([clip_of(clip)])
    assert not isinstance(joined, str) and joined.layers == 3 and joined.vector.shape == (96,)
    with pytest.raises(CheckpointError, match="is no name on a hub"):
        make_extractor(f"hf:{tmp_path / 'none'}")


def test_names_on_hugging_face_mean_whatever_lies_there(tmp_path: Path, write_audio: Callable[..., Path]) -> None:
    """Ours, other encoders and Whisper's, with the features of the models that `load_model` gives."""
    write_encoder(tmp_path / "wavlm", "wavlm base")
    own = Emotion2vec(tiny_config().model)
    save_model(tmp_path / "own", own.config, own.state_dict())
    clip = write_audio("a.wav", 1.3)
    for name in ("wavlm", "own"):
        extractor = make_extractor(f"hf:{tmp_path / name}", layer=1, pooling="mean+std")
        (found,) = extractor.extract([clip_of(clip)])
        model = load_model(tmp_path / name)
        layers = model.extract_features(clip, layers=True).layers
        assert layers is not None and not isinstance(found, str)
        expected = np.concatenate([layers[1].mean(0), layers[1].std(0)])
        np.testing.assert_allclose(found.vector, expected, rtol=1e-4, atol=1e-5)
        assert extractor.fingerprint == make_extractor(str(tmp_path / name), layer=1, pooling="mean+std").fingerprint
    (random,) = make_extractor(f"untrained:{tmp_path / 'wavlm'}").extract([clip_of(clip)])
    (again,) = make_extractor(f"untrained:hf:{tmp_path / 'wavlm'}").extract([clip_of(clip)])
    assert not isinstance(random, str) and not isinstance(again, str)
    np.testing.assert_array_equal(random.vector, again.vector)


@pytest.mark.parametrize("name", ["hf:", "hf:name", "hf:a/b/c", "hf:../x/y"])
def test_what_is_no_name_on_a_hub_is_said(name: str) -> None:
    with pytest.raises(CheckpointError, match=f"{re.escape(name)}: is no name on a hub, expected hf:owner/name"):
        make_extractor(name)


def test_egemaps(sample_speech: Path) -> None:
    pytest.importorskip("opensmile")
    (found,) = make_extractor("egemaps").extract([clip_of(sample_speech / "de1_angry_1.opus")])
    assert not isinstance(found, str) and found.vector.shape == (88,)
