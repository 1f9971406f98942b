"""How fairseq's loop weighs the utterance loss of our model; fairseq itself is stood in for."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from networks import TINY, tiny_config, waveforms

from emotion2vec.audio.frames import WAVEFORM_GRID
from emotion2vec.pretrain.masking import batch_masks


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Our fairseq model on modules that have fairseq's names."""
    stands = {name: ModuleType(name) for name in ("fairseq", "fairseq.dataclass", "fairseq.models", "fairseq.tasks")}
    task = ModuleType("fairseq.tasks.audio_pretraining")
    stands["fairseq.tasks.audio_pretraining"] = task
    stands["fairseq.dataclass"].FairseqDataclass = object  # type: ignore[attr-defined]
    stands["fairseq.models"].BaseFairseqModel = torch.nn.Module  # type: ignore[attr-defined]
    stands["fairseq.models"].register_model = lambda *_, **__: lambda cls: cls  # type: ignore[attr-defined]
    stands["fairseq.tasks"].register_task = lambda *_, **__: lambda cls: cls  # type: ignore[attr-defined]
    task.AudioPretrainingConfig = task.AudioPretrainingTask = object  # type: ignore[attr-defined]
    for name, stand in stands.items():
        monkeypatch.setitem(sys.modules, name, stand)
    package = "emotion2vec.integrations.fairseq.emotion2vec_fairseq"
    for name in (package, f"{package}.model", f"{package}.task"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module(f"{package}.model")
    overrides = [item for item in TINY if not item.startswith(("data.train", "run.dir"))]
    torch.manual_seed(0)
    return module.Emotion2vecFairseqModel(SimpleNamespace(config="base", overrides=overrides, seed=3)).train()


def test_the_utterance_loss_is_a_mean_weighted_by_masked_frames(model: Any) -> None:
    batches = [(waveforms(4, 16_000), torch.arange(4)), (waveforms(2, 32_000, seed=1), torch.arange(4, 6))]
    config = tiny_config()
    outputs, losses, masked, views = [], [], [], []
    for source, numbers in batches:
        outputs.append(model(source, numbers))
        names = [str(int(number)) for number in numbers]
        mask = batch_masks(names, WAVEFORM_GRID.count(source.shape[1]), config.mask, seed=3, update=1)
        exact = model.pretrainer(source, mask)
        losses.append(exact.utterance_loss.item())
        masked.append(exact.masked)
        views.append(exact.views)
    size = sum(output["sample_size"] for output in outputs)
    theirs = sum(output["losses"]["utterance"].item() for output in outputs) / size  # as fairseq's criterion does
    means = [loss / count for loss, count in zip(losses, views, strict=True)]
    weighted = sum(mean * count for mean, count in zip(means, masked, strict=True)) / sum(masked)
    assert theirs == pytest.approx(weighted, rel=1e-4)
    assert abs(theirs - sum(losses) / sum(views)) > 1e-3  # the trainer's mean over views is another
    alone = outputs[0]["losses"]["utterance"].item() / outputs[0]["sample_size"]
    assert alone == pytest.approx(means[0], rel=1e-4)  # one batch an update: the same
