"""Features of other packages, where they are installed; without them, the message that says how to install them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from probe.stand_in import clip_of

from emotion2vec.audio.samples import load_audio
from emotion2vec.errors import CheckpointError, ConfigError
from emotion2vec.probe.features.names import make_extractor


@pytest.mark.parametrize(
    ("feature", "package"),
    [("egemaps", "opensmile"), ("hf:x", "transformers"), ("text:x", "transformers"), ("torchaudio:x", "torchaudio")],
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
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        make_extractor(f"hf:{tmp_path / 'none'}")


def test_whisper_hears_long_clips_in_windows(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    prepare = transformers.WhisperFeatureExtractor(feature_size=20, chunk_length=2)
    sizes = {"encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    sizes |= {"encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "d_model": 16, "num_mel_bins": 20, "vocab_size": 50}
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    config = transformers.WhisperConfig(**sizes, **tokens, max_source_positions=100, suppress_tokens=None)
    model = transformers.WhisperModel(config).eval()
    for part in (prepare, model):
        part.save_pretrained(tmp_path / "whisper")
    rng = np.random.default_rng(0)
    samples = {name: rng.normal(0, 0.1, int(16_000 * seconds)) for name, seconds in (("short", 1.5), ("long", 5.03))}
    for name, waveform in samples.items():
        soundfile.write(tmp_path / f"{name}.wav", waveform, 16_000, subtype="FLOAT")
    clips = [clip_of(tmp_path / f"{name}.wav") for name in samples]
    short, long = make_extractor(f"hf:{tmp_path / 'whisper'}").extract(clips)
    assert not isinstance(short, str) and not isinstance(long, str)
    assert short.frames is not None and long.frames is not None
    assert short.frames.shape == (75, 16) and long.frames.shape == (252, 16)

    def encoded(start: int) -> np.ndarray:
        heard = samples["long"][start : start + 32_000].astype(np.float32)
        mel = prepare(heard, sampling_rate=16_000, return_tensors="pt").input_features
        with torch.inference_mode():
            return model.encoder(mel).last_hidden_state[0].numpy()

    np.testing.assert_allclose(long.frames[:75], encoded(0)[:75], rtol=1e-4, atol=1e-5)
    last = 152 * 320  # the last window ends with the clip
    np.testing.assert_allclose(long.frames[-40:], encoded(last)[-40:], rtol=1e-4, atol=1e-5)
    assert np.isfinite(long.frames).all()


def test_egemaps(sample_speech: Path) -> None:
    pytest.importorskip("opensmile")
    (found,) = make_extractor("egemaps").extract([clip_of(sample_speech / "de1_angry_1.opus")])
    assert not isinstance(found, str) and found.vector.shape == (88,)
