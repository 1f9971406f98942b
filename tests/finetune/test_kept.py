"""What frozen blocks say is computed once: the same scores, the same gradients, less work."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from finetune.talkers import quick_config
from finetune.test_run import metrics

from emotion2vec.checkpoint import load_model
from emotion2vec.data.cuts import load_cut
from emotion2vec.finetune.network import TunedNetwork
from emotion2vec.finetune.run import finetune
from emotion2vec.model.encoder import Emotion2vec


@pytest.mark.parametrize(
    "how",
    [
        "strategy=frozen",
        "strategy=top:1",
        "strategy=gradual:1 finetune.freeze=blocks:1",
        "strategy=top:1 finetune.head_first=1",
    ],
)
def test_keeping_changes_only_the_last_digits(talkers: Path, model: Path, tmp_path: Path, how: str) -> None:
    rows, said = [], []
    for gigabytes in (0, 2):
        settings = [*f"finetune.{how}".split(), f"finetune.keep_gb={gigabytes}", "data.max_seconds=1"]
        run = tmp_path / str(gigabytes)
        finetune(quick_config(talkers, model, run, *settings, "optim.max_updates=3", "optim.lr=1e-3"), said.append)
        names = ("loss", "grad_norm", "validation_loss")
        rows.append([line[name] for line in metrics(run) for name in names if name in line])
    assert sum("computed once and kept" in line for line in said) == 1
    assert rows[0] == pytest.approx(rows[1], rel=2e-2)  # what is kept has half precision


def test_distorted_audio_is_not_kept(talkers: Path, model: Path, tmp_path: Path) -> None:
    said: list[str] = []
    settings = ["finetune.strategy=frozen", "augment.gain_prob=0.5", "optim.max_updates=1"]
    finetune(quick_config(talkers, model, tmp_path, *settings), said.append)
    assert not any("computed once" in line for line in said)


def test_below_and_above_make_the_whole(talkers: Path, model: Path, tmp_path: Path) -> None:
    finetune(quick_config(talkers, model, tmp_path, "optim.max_updates=1"), lambda text: None)
    encoder = load_model(tmp_path)
    assert isinstance(encoder, Emotion2vec)
    waveforms = torch.randn(2, 6_400, generator=torch.Generator().manual_seed(0))
    padding = torch.arange(6_400).unsqueeze(0) >= torch.tensor([[6_400], [4_000]])
    for frozen in (3, 4):
        network = TunedNetwork(encoder, frozen).eval()
        assert network.can_keep
        x = network.below(waveforms, padding)
        halves = network.above(x, encoder.frame_padding(padding))[""]
        assert torch.allclose(halves, network.scores(waveforms, padding)[""], atol=1e-5)
    assert not TunedNetwork(encoder, 2).can_keep


def test_runs_of_a_command_share_what_is_kept(talkers: Path, model: Path, tmp_path: Path) -> None:
    said: list[str] = []
    settings = ["finetune.strategy=frozen", "optim.max_updates=2", "evaluate.folds=speaker", "evaluate.final=false"]
    finetune(quick_config(talkers, model, tmp_path / "shared", *settings), said.append)
    kept = [
        re.fullmatch(r"what frozen .* of (\d+) clips .* kept(?:, (\d+) of them before)?: .*", line) for line in said
    ]
    counts = [(int(found[1]), int(found[2] or 0)) for found in kept if found]
    assert counts[0][1] == 0
    computed = sum(whole - before for whole, before in counts)
    assert 0 < computed <= 24 < sum(whole for whole, _ in counts)  # each clip once, however many folds train on it

    (second,) = (tmp_path / "shared/folds").glob("02_*")
    together = scores_of(second)
    shutil.rmtree(second)
    finetune(quick_config(talkers, model, tmp_path / "shared", *settings), lambda text: None)  # now it is the first
    assert scores_of(second) == together


def scores_of(fold: Path) -> dict[str, list[float]]:
    """Scores of a fold's test clips, by their ids."""
    found = json.loads((fold / "test.json").read_text())
    return dict(zip(found["ids"], found["scores"], strict=True))


def test_audio_of_kept_clips_is_not_read_again(
    talkers: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    monkeypatch.setattr("emotion2vec.data.sources.load_cut", lambda cut: read.append(cut.id) or load_cut(cut))
    for gigabytes, some in ((2, False), (0, True)):
        settings = ["finetune.strategy=frozen", "optim.max_updates=2", f"finetune.keep_gb={gigabytes}"]
        finetune(quick_config(talkers, model, tmp_path / str(gigabytes), *settings), lambda text: None)
        assert bool(read) == some
