"""Encoders of transformers behind our interface, against transformers itself; padding, gradients, parts."""

from __future__ import annotations

import copy
import pickle
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from foreign import KINDS, PADDED, expected_layers, network, quiet_clip, write_encoder

from emotion2vec.audio.samples import normalize
from emotion2vec.checkpoint import load_model
from emotion2vec.errors import CheckpointError, ConfigError
from emotion2vec.extraction.api import extract_features
from emotion2vec.model.fingerprint import weights_hash
from emotion2vec.model.foreign import ForeignEncoder

LENGTHS = (16_000, 9_123, 12_001, 9_123)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("foreign")
    for kind in KINDS:
        write_encoder(root / kind, kind)
    return {kind: root / kind for kind in KINDS}


def load(folder: Path) -> ForeignEncoder:
    model = load_model(folder)
    assert isinstance(model, ForeignEncoder)
    return model


def padded(clips: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalized clips (B, S) with rubbish after their ends, and the padding."""
    heard = [torch.from_numpy(normalize(clip, 1e-7)) for clip in clips]
    waveforms, padding = torch.full((len(clips), 16_000), 2.0), torch.ones(len(clips), 16_000, dtype=torch.bool)
    for row, waveform in enumerate(heard):
        waveforms[row, : len(waveform)], padding[row, : len(waveform)] = waveform, False
    return waveforms, padding


@pytest.mark.parametrize("kind", KINDS)
def test_layers_are_those_of_transformers_alone_in_a_batch_and_padded(kind: str, folders: dict[str, Path]) -> None:
    reference, model = network(kind), load(folders[kind])
    clips = [quiet_clip(samples, seed) for seed, samples in enumerate(LENGTHS)]
    expected = [expected_layers(reference, clip) for clip in clips]
    for clip, layers in zip(clips, expected, strict=True):
        found = model.extract_features(clip, 16_000, layers=True)
        assert found.layers is not None and found.layers.shape == (3, model.config.grid.count(clip.size), 32)
        np.testing.assert_allclose(found.layers, layers, atol=1e-5, rtol=0)
        np.testing.assert_array_equal(found.frames, found.layers[-1])
    for found, layers in zip(extract_features(clips, 16_000, model=model, layers=True), expected, strict=True):
        np.testing.assert_allclose(found.layers, layers, atol=1e-5, rtol=0)
    assert model.config.pads == (kind in PADDED)
    with torch.no_grad():
        encoded = model(*padded(clips))
    assert encoded.padding is not None and (~encoded.padding).sum(dim=1).tolist() == [x.shape[1] for x in expected]
    for row, layers in enumerate(expected):
        stacked = torch.stack([layer[row, : layers.shape[1]] for layer in encoded.layers])
        np.testing.assert_allclose(stacked, layers, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_everything_is_trained_and_nothing_masked(kind: str, folders: dict[str, Path]) -> None:
    """In training without dropout the outputs are those of eval mode, and every parameter has a gradient."""
    model = load(folders[kind])
    waveforms, padding = padded([quiet_clip(samples, seed) for seed, samples in enumerate(LENGTHS[:2])])
    before = model(waveforms, padding).frames.detach()
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()
    for name in ("dropout", "activation_dropout"):  # what attention is told beside the modules
        for module in model.modules():
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    encoded = model(waveforms, padding)
    torch.testing.assert_close(encoded.frames, before, atol=1e-5, rtol=0)
    sum((layer * torch.randn_like(layer)).sum() for layer in encoded.layers).backward()  # type: ignore[union-attr]
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == [name for name in silent if name.endswith("k_proj.bias")]  # softmax does not see it
    assert not any("masked_spec_embed" in name for name, _ in model.named_parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_parts_are_all_of_the_encoder_once(kind: str, folders: dict[str, Path]) -> None:
    model = load(folders[kind])
    parts = model.parts()
    assert [part.name for part in parts] == ["cnn", "stem", "block 0", "block 1", "block 2"]
    own = [id(parameter) for part in parts for parameter in part.parameters()]
    assert len(own) == len(set(own)) and set(own) == {id(parameter) for parameter in model.parameters()}
    x = padded([quiet_clip(16_000)])[0]
    with torch.no_grad():
        before = model(x)
        for parameter in parts[4].parameters():  # the last block, with a last norm where there is one
            parameter.add_(0.1)
        after = model(x)
    assert torch.equal(before.layers[1], after.layers[1]) and not torch.equal(before.layers[2], after.layers[2])


@pytest.mark.parametrize("kind", ["wav2vec2 base", "conformer rotary"])
def test_threads_do_not_disturb_each_other(
    kind: str, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Conformer keeps the positions of the last length; another thread's must not be taken for one's own."""
    model = load(folders[kind])
    if kind == "conformer rotary":
        positions = model.network.encoder.embed_positions
        forward = positions.forward

        def slow(hidden: torch.Tensor) -> torch.Tensor:
            forward(hidden)
            time.sleep(0.01)
            return positions.cached_rotary_positional_embedding  # as it reads it at its end

        monkeypatch.setattr(positions, "forward", slow)
    clips = [quiet_clip(4_000 + 977 * number, number) for number in range(12)]
    alone = [model.extract_features(clip, 16_000, layers=True).layers for clip in clips]
    with torch.no_grad(), ThreadPoolExecutor(4) as pool:
        heard = [torch.from_numpy(normalize(clip, 1e-7))[None] for clip in clips]
        together = list(pool.map(lambda x: torch.cat(model(x).layers).detach().numpy(), heard))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5, rtol=0)


def test_copies_compute_the_same_and_have_the_same_hash(folders: dict[str, Path]) -> None:
    model, clip = load(folders["hubert large"]), quiet_clip(9_000)
    expected = model.extract_features(clip, 16_000).frames
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), load(folders["hubert large"])):
        np.testing.assert_array_equal(other.extract_features(clip, 16_000).frames, expected)
        assert weights_hash(other) == weights_hash(model)


def test_what_only_our_networks_have_is_refused(
    folders: dict[str, Path], tmp_path: Path, write_audio: Callable[..., Path]
) -> None:
    from emotion2vec.exporting.export import export
    from emotion2vec.extraction.engine import extract

    with pytest.raises(CheckpointError, match="is a ForeignEncoder, expected one of ours"):
        export(folders["wavlm base"], tmp_path / "m.pt2", format="torch-export")
    with pytest.raises(ConfigError, match="features is 'ffn', but the model gives the outputs of its blocks alone"):
        extract(write_audio("a.wav"), output=tmp_path / "out", model=folders["wavlm base"], features="ffn")
