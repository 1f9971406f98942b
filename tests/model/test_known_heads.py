"""Heads by kind on an encoder: built, saved and read again, called in training and by `predict`; parts of encoders."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import tiny_config, waveforms
from tables import rows_of, scores_of

from emotion2vec.checkpoint import load_model, save_model
from emotion2vec.errors import CheckpointError, ConfigError
from emotion2vec.exporting.convert import convert
from emotion2vec.exporting.export import export
from emotion2vec.extraction.predict import predict
from emotion2vec.model.config import HEADS, SYMBOLS, Emotion2vecConfig, HeadConfig
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.model.known_heads import BUILDERS, build_head
from emotion2vec.tasks.scaling import Scaling

LABELS = ("angry", "calm", "unuse_0", "sad")
CONFIGS = [HeadConfig(kind=kind, hidden=5) for kind in HEADS]
CONFIGS += [HeadConfig(kind=kind, hidden=5, pooling="mean+std") for kind in ("mean", "two", "layers")]


def classifier(config: HeadConfig, *, standardize: bool = False) -> Emotion2vec:
    torch.manual_seed(0)
    model = Emotion2vec(tiny_config().model).eval()
    model.head = build_head(config, model.config.width, len(model.blocks), LABELS, torch.Generator().manual_seed(1))
    model.head.eval()
    if standardize:
        width = model.config.width * (2 if config.pooling == "mean+std" else 1)
        shape = (3, width) if model.head.reads_layers else (width,)
        random = np.random.default_rng(0)
        model.head.standardize(Scaling(random.standard_normal(shape), random.uniform(0.5, 2, shape)))
    return model


def clip(samples: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)


def test_every_kind_that_a_configuration_may_name_is_built() -> None:
    assert set(BUILDERS) == {*HEADS, SYMBOLS}


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.kind} {c.pooling}")
@pytest.mark.parametrize("standardize", [False, True])
def test_a_folder_brings_back_the_same_head(config: HeadConfig, standardize: bool, tmp_path: Path) -> None:
    model = classifier(config, standardize=standardize)
    assert model.head is not None
    save_model(tmp_path / "model", model.config, model.state_dict(), labels=LABELS, head=model.head.config)
    loaded = load_model(tmp_path / "model")
    assert loaded.head is not None and type(loaded.head) is type(model.head) and loaded.head.config == config
    audio = [clip(16_000, 0), clip(7_000, 1)]
    expected = model.predict(audio, 16_000)
    assert loaded.predict(audio, 16_000) == expected and set(expected[0]) == {"angry", "calm", "sad"}
    written = json.loads((tmp_path / "model" / "model.json").read_text())
    assert ("head" in written) == (config != HeadConfig(hidden=256))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.kind} {c.pooling}")
def test_prediction_is_the_head_on_padded_batches_too(config: HeadConfig) -> None:
    model = classifier(config, standardize=True)
    long, short = waveforms(1, 16_000)[0], waveforms(1, 9_000, seed=1)[0]
    batch = torch.stack([long, torch.nn.functional.pad(short, (0, 7_000), value=3.0)])  # (2, S)
    padding = torch.arange(16_000) >= torch.tensor([[16_000], [9_000]])
    scores = model.scores(model(batch, padding))  # (2, K)
    assert model.head is not None
    for row, waveform in zip(scores, (long, short), strict=True):
        (expected,) = model.head.by_label(row.unsqueeze(0).detach())
        assert model.predict(waveform.numpy(), 16_000) == pytest.approx(expected, abs=1e-4)
    scores[:, 0].sum().backward()
    missing = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not [name for name in missing if "tokens" not in name]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.kind} {c.pooling}")
@pytest.mark.parametrize("window", [None, 0.5])
def test_the_verb_predicts_the_same(config: HeadConfig, window: float | None, tmp_path: Path) -> None:
    import soundfile

    model = classifier(config, standardize=True)
    soundfile.write(tmp_path / "a.wav", clip(20_000, 0), 16_000, subtype="FLOAT")
    predict(tmp_path / "a.wav", model=model, output=tmp_path / "out.jsonl", window=window)
    rows = [scores_of(row) for row in rows_of(tmp_path / "out.jsonl")]
    features = model.extract_features(tmp_path / "a.wav", layers=True)
    assert model.head is not None and features.layers is not None
    read = features.layers if model.head.reads_layers else features.frames  # ([L,] T, D)
    step = 25 if window else read.shape[-2]
    for number, row in enumerate(rows):
        piece = torch.from_numpy(read[..., step * number : step * (number + 1), :]).unsqueeze(0)
        (expected,) = model.head.by_label(model.head(piece).detach())
        assert row == pytest.approx(expected, abs=1e-4)
    assert len(rows) == (3 if window else 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "config", [config for config in CONFIGS if config.kind in ("layers", "attention", "fused", "text-cross")]
)
def test_graphs_hold_heads(config: HeadConfig, tmp_path: Path) -> None:
    assert export(classifier(config), tmp_path / "m.pt2", format="torch-export").difference < 1e-4


def test_graphs_refuse_recurrent_heads_and_other_formats_all_but_the_usual_one(tmp_path: Path) -> None:
    model = classifier(HeadConfig(kind="gru", hidden=5))
    with pytest.raises(CheckpointError, match="head is of kind gru, which graphs cannot hold"):
        export(model, tmp_path / "m.pt2", format="torch-export")
    save_model(
        tmp_path / "model", model.config, model.state_dict(), labels=LABELS, head=HeadConfig(kind="gru", hidden=5)
    )
    with pytest.raises(CheckpointError, match=r"its head is of kind gru .* the format holds linear ones"):
        convert(tmp_path / "model", tmp_path / "funasr", to="funasr")
    convert(tmp_path / "model", tmp_path / "copy", to="native")
    assert load_model(tmp_path / "copy").predict(clip(9_000, 0), 16_000) == model.predict(clip(9_000, 0), 16_000)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ({"kind": "gpt"}, r"model\.json, head.*kind is 'gpt', expected .*attention"),
        ({"kind": "mlp", "hiden": 3}, "hiden"),
        ({"kind": "mlp", "hidden": 6}, r"head\.hidden\.weight has shape \(5, 32\), expected \(6, 32\)"),
        ({"kind": "attention", "hidden": 5}, r"missing head\.project\.weight"),
    ],
)
def test_wrong_descriptions_are_said(head: dict[str, object], message: str, tmp_path: Path) -> None:
    model = classifier(HeadConfig(kind="mlp", hidden=5))
    save_model(tmp_path / "m", model.config, model.state_dict(), labels=LABELS, head=HeadConfig(kind="mlp", hidden=5))
    content = json.loads((tmp_path / "m" / "model.json").read_text())
    (tmp_path / "m" / "model.json").write_text(json.dumps(content | {"head": head}))
    with pytest.raises(CheckpointError, match=f"(?s){message}"):
        load_model(tmp_path / "m")


def test_labels_are_checked_whatever_the_kind() -> None:
    with pytest.raises(ConfigError, match="the labels of a head are a, a, expected different ones"):
        build_head(HeadConfig(kind="attention"), 4, 1, ["a", "a"])


MEL = Emotion2vecConfig(
    frontend="logmel", mels=20, channels=16, kernels=[3, 3], strides=[1, 2], width=16, heads=2, ffn_width=32,
    prenet_depth=0, depth=2, tokens=0, norm="pre", final_norm=True, positions="sinusoid",
)  # fmt: skip


@pytest.mark.parametrize("config", [tiny_config().model, MEL], ids=["waveform", "log-mel"])
def test_parts_are_all_of_the_encoder_once_from_bottom_to_top(config: Emotion2vecConfig) -> None:
    model = Emotion2vec(config, LABELS)
    parts = model.parts()
    depth = config.prenet_depth + config.depth
    assert [part.name for part in parts] == ["cnn", "stem", *(f"block {number}" for number in range(depth))]
    own = [id(parameter) for part in parts for parameter in part.parameters()]
    encoder = {id(p) for name, p in model.named_parameters() if not name.startswith("head.")}
    assert len(own) == len(set(own)) and set(own) == encoder
    for part in parts[:3]:
        part.requires_grad_(False)
        part.train(False)
    model.scores(model(waveforms(2, 8_000))).sum().backward()
    trained = {id(p) for p in model.parameters() if p.grad is not None}
    above = {id(p) for part in parts[3:] for p in part.parameters()}
    assert trained == above | {id(p) for p in model.head.parameters()}  # type: ignore[union-attr]
    assert not model.blocks[0].training and model.blocks[1].training


def test_a_frozen_bottom_changes_nothing_else() -> None:
    """The outputs of blocks below a change are those before it, so that they may be kept."""
    model = classifier(replace(CONFIGS[0]))
    x = waveforms(1, 8_000)
    before = model(x).layers
    with torch.no_grad():
        for parameter in model.parts()[3].parameters():  # the second block
            parameter.add_(0.1)
    after = model(x).layers
    assert torch.equal(before[0], after[0]) and not torch.equal(before[1], after[1])
