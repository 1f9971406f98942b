from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from probe.stand_in import StandIn, clip_of, write_tones

from emotion2vec.audio import spectral
from emotion2vec.audio.samples import load_audio
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.errors import ConfigError
from emotion2vec.model.config import Emotion2vecConfig
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.model.fingerprint import weights_hash
from emotion2vec.probe.features.extractor import ClipFeatures
from emotion2vec.probe.features.names import make_extractor

TINY = {
    "channels": 16,
    "width": 32,
    "heads": 2,
    "ffn_width": 32,
    "prenet_depth": 1,
    "depth": 2,
    "tokens": 2,
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Utterance:
    folder = tmp_path_factory.mktemp("tones")
    write_tones(folder, speakers=1, each=1)
    return clip_of(folder / "high_0_0.wav")


def test_spectra_are_mean_and_deviation_over_time(clip: Utterance) -> None:
    frames = spectral.log_mel(load_audio(clip.path)).astype(np.float64)
    found = make_extractor("logmel").extract([clip])[0]
    np.testing.assert_allclose(found.vector, np.concatenate([frames.mean(0), frames.std(0)]), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found.frames, found.vector[None])
    assert make_extractor("mfcc", pooling="mean").extract([clip])[0].vector.shape == (40,)


def test_layers_of_a_network(clip: Utterance) -> None:
    model = StandIn()
    layers = model.extract_features(clip.path, layers=True).layers
    assert layers is not None
    for layer, expected in (
        ("last", layers[2]),
        (0, layers[0]),
        ("-2", layers[1]),
        ("mean", layers.mean(0)),
        ("mean:2", layers[1:].mean(0)),
    ):
        found = make_extractor(model, layer=layer).extract([clip])[0]
        np.testing.assert_array_equal(found.frames, expected)
        np.testing.assert_allclose(found.vector, expected.mean(0), rtol=1e-5)
    joined = make_extractor(model, layer="all").extract([clip])[0]
    assert joined.frames is None
    np.testing.assert_allclose(joined.vector, layers.mean(1).reshape(-1), rtol=1e-5)
    both = make_extractor(model, pooling="mean+std").extract([clip])[0]
    np.testing.assert_allclose(both.vector[8:], layers[2].std(0), rtol=1e-4)


def test_a_layer_that_is_not_there(clip: Utterance) -> None:
    with pytest.raises(ConfigError, match="layer is 3, but StandIn has layers 0 to 2"):
        make_extractor(StandIn(), layer=3).extract([clip])[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"feature": "logmell"}, "'logmell'.*expected logmel, mfcc, egemaps, untrained"),
        ({"feature": "torchaudio:NONE"}, "needs the package torchaudio|expected one of"),
        ({"feature": "logmel", "layer": "mean:0"}, "layer is 'mean:0'"),
        ({"feature": "logmel", "layer": "first"}, "layer is 'first', expected last, mean, mean:N, all or a number"),
        ({"feature": "logmel", "pooling": "max"}, "pooling is 'max', expected one of mean, mean.std"),
        ({"feature": "untrained:none.yaml"}, "none.yaml: no such file"),
    ],
)
def test_names_that_are_not_known(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_extractor(**options)


def test_untrained_takes_the_shape_and_is_the_same_every_time(tmp_path: Path, clip: Utterance) -> None:
    path = tmp_path / "shape.yaml"
    path.write_text("model: {" + ", ".join(f"{key}: {value}" for key, value in TINY.items()) + "}\noptim: {lr: 1}\n")
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = make_extractor(f"untrained:{path}")
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    second = make_extractor(f"untrained:{path}")
    assert first.fingerprint == second.fingerprint
    assert first.extract([clip])[0].vector.shape == (32,)
    np.testing.assert_array_equal(first.extract([clip])[0].vector, second.extract([clip])[0].vector)


@pytest.mark.parametrize("layer", ["last", "all"])
def test_a_neighbour_that_fails_does_not_change_the_features_of_long_clips(tmp_path: Path, layer: str) -> None:
    """Long audio is encoded in windows, together with other clips or alone."""
    long, broken = tmp_path / "long.wav", tmp_path / "broken.wav"
    samples = np.random.default_rng(0).standard_normal(45 * 16_000)
    soundfile.write(long, 0.1 * samples * np.linspace(0, 1, len(samples)), 16_000)
    broken.write_bytes(b"not audio")
    extractor = make_extractor(Emotion2vec(Emotion2vecConfig(**TINY)).eval(), layer=layer)
    (expected,) = extractor.extract([clip_of(long)])
    found, reason = extractor.extract([clip_of(long), clip_of(broken)])
    assert isinstance(expected, ClipFeatures) and isinstance(found, ClipFeatures)
    np.testing.assert_array_equal(found.vector, expected.vector)
    np.testing.assert_array_equal(found.frames, expected.frames)
    assert reason.startswith(f"{broken}: ")


def test_untrained_takes_the_shape_of_the_model_at_hand(clip: Utterance) -> None:
    torch.manual_seed(5)
    model = Emotion2vec(Emotion2vecConfig(**TINY)).eval()
    found = make_extractor("untrained", model=model)
    assert found.extract([clip])[0].vector.shape == (32,)
    assert found.fingerprint != make_extractor(model).fingerprint


def test_the_shape_must_be_valid(tmp_path: Path) -> None:
    path = tmp_path / "shape.yaml"
    path.write_text("model: {width: 30, heads: 4, widht: 3}\n")
    with pytest.raises(ConfigError, match=r"(?s)shape\.yaml.*widht.*width is 30, expected a multiple"):
        make_extractor(f"untrained:{path}")


def test_the_hash_sees_weights() -> None:
    first, second = StandIn(), StandIn()
    assert weights_hash(first) == weights_hash(second)
    with torch.no_grad():
        second.weight[2, 1, 1] += 1e-3
    assert weights_hash(first) != weights_hash(second)
