"""The mean of models: that of their tensors, and a model like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from finetune.talkers import SMALL, write_model
from tables import rows_of
from torch.optim.swa_utils import AveragedModel

from emotion2vec.checkpoint import load_model, save_model
from emotion2vec.checkpoint.heard import Heard
from emotion2vec.cli import main
from emotion2vec.errors import CheckpointError, ConfigError
from emotion2vec.extraction.predict import predict
from emotion2vec.finetune.average import average
from emotion2vec.model.config import HeadConfig
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.model.known_heads import build_head

LABELS = ("anger", "neutral", "sadness")


def random_network(seed: int, labels: tuple[str, ...] = LABELS) -> Emotion2vec:
    """A small network with a head, all of its weights random."""
    generator = torch.Generator().manual_seed(seed)
    network = Emotion2vec(SMALL)
    network.head = build_head(HeadConfig(pooling="mean+std"), SMALL.width, SMALL.depth, labels, generator)
    for value in network.state_dict().values():
        value.add_(0.1 * torch.randn(value.shape, generator=generator))
    return network.eval()


def write(folder: Path, network: Emotion2vec, heard: Heard | None = None) -> Path:
    assert network.head is not None
    head = network.head
    save_model(folder, SMALL, network.state_dict(), labels=head.labels, head=head.config, heard=heard)
    return folder


def test_the_mean_is_that_of_the_tensors(tmp_path: Path) -> None:
    heard = [Heard().with_more(labels=[10 * seed]) for seed in range(3)]
    models = [write(tmp_path / f"m{seed}", random_network(seed), heard[seed]) for seed in range(3)]
    average(models, tmp_path / "mean", [1, 1, 2])
    states = [load_model(one).state_dict() for one in models]
    mean = load_model(tmp_path / "mean")
    for name, value in mean.state_dict().items():
        parts = zip((0.25, 0.25, 0.5), states, strict=True)
        expected = torch.stack([share * state[name].double() for share, state in parts]).sum(dim=0)
        assert torch.allclose(value.double(), expected, rtol=1e-6, atol=1e-8), name
        assert not torch.equal(value, states[0][name]), name
    assert mean.heard is not None and mean.heard.labels.tolist() == [0, 10, 20]


def test_its_predictions_are_those_of_the_averaged_network(talkers: Path, tmp_path: Path) -> None:
    networks = [random_network(seed) for seed in range(2)]
    average([write(tmp_path / f"m{seed}", one) for seed, one in enumerate(networks)], tmp_path / "mean")
    averaged = AveragedModel(networks[0], use_buffers=True)  # the mean as PyTorch has it
    for network in networks:
        averaged.update_parameters(network)
    clips = sorted(talkers.parent.glob("*.wav"))[:6]
    predict([str(clip) for clip in clips], model=tmp_path / "mean", output=tmp_path / "out.jsonl")
    rows = rows_of(tmp_path / "out.jsonl")
    assert len(rows) == 6
    for clip, row in zip(clips, rows, strict=True):
        wave = torch.from_numpy(soundfile.read(clip, dtype="float32")[0])
        if SMALL.normalizes:
            wave = torch.nn.functional.layer_norm(wave, wave.shape)
        with torch.inference_mode():
            network = averaged.module
            expected = network.scores(network(wave.unsqueeze(0), None)).softmax(dim=1)[0]
        found = torch.tensor([row[f"score:{label}"] for label in LABELS])
        assert torch.allclose(found, expected, atol=2e-4), clip


def test_models_that_differ_are_refused(tmp_path: Path) -> None:
    one = write(tmp_path / "one", random_network(0))
    turned = write(tmp_path / "turned", random_network(1, ("neutral", "anger", "sadness")))
    for other, message in (
        (turned, r"turned: labels is neutral, anger, sadness, expected anger, neutral, sadness as of .*one"),
        (write_model(tmp_path / "bare"), "bare: labels is none, expected anger"),
        (write_model(tmp_path / "wide", width=16), "wide: .* only models that are alike"),
    ):
        with pytest.raises(CheckpointError, match=message):
            average([one, other], tmp_path / "mean")
    wide, bare = tmp_path / "wide", tmp_path / "bare"
    with pytest.raises(CheckpointError, match="wide: model width is 16, expected 32"):
        average([bare, wide], tmp_path / "mean")
    for models, weights, message in (
        ([one], (), "1 model to average, expected at least 2"),
        ([one, one], (1,), "weights are 1 numbers for 2 models"),
        ([one, one], (1, -1), "weights are 1, -1, expected numbers from 0 on"),
        ([one, one], (0, 0), "not all of them 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            average(models, tmp_path / "mean", weights)
    with pytest.raises(ConfigError, match="one: is there already"):
        average([one, one], one)
    assert not (tmp_path / "mean").exists()


def test_the_verbs_under_finetune(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def run(*words: object) -> int:
        monkeypatch.setattr("sys.argv", ["emotion2vec", "finetune", *map(str, words)])
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    one, two = (write(tmp_path / f"m{seed}", random_network(seed)) for seed in range(2))
    assert run("average", one, two, "--output", tmp_path / "mean", "--weights", "0.3,0.7") == 0
    value, first, second = (load_model(tmp_path / name).state_dict() for name in ("mean", "m0", "m1"))
    name = next(name for name in value if name.startswith("head"))
    np.testing.assert_allclose(value[name], 0.3 * first[name] + 0.7 * second[name], rtol=1e-5, atol=1e-7)
    assert run("average", one, two, "--output", tmp_path / "other", "--weights", "0.3;0.7") == 2
    assert "weights is '0.3;0.7', expected numbers with commas" in capsys.readouterr().err
    assert run("--help") == 0
    said = capsys.readouterr().out
    assert "finetune search: Search" in said and "finetune average: Average" in said and "optim.encoder_lr" in said
    assert run("search", "--help") == 0
    assert "sampler" in capsys.readouterr().out
    assert run("data.table=x.csv", "serach=1") == 2
    said = capsys.readouterr().err
    assert "unknown key serach" in said and "run.dir is empty" in said
