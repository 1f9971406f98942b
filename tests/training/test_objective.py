"""The loop trains whatever keeps to the protocol: here a classifier of utterances, whose labels go by their ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import TINY
from torch import Tensor, nn
from training.helpers import assert_same_run, metrics, tensors

from emotion2vec.checkpoint import load_model
from emotion2vec.checkpoint.heard import Heard
from emotion2vec.data.micro_batch import MicroBatch
from emotion2vec.errors import TrainingError
from emotion2vec.model.config import Emotion2vecConfig
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.training.checks import check_listed
from emotion2vec.training.config import ListedConfig, load
from emotion2vec.training.metrics import Moments
from emotion2vec.training.objective import Objective, ParameterGroup
from emotion2vec.training.run import Say, train
from emotion2vec.training.trainer import FitResult, Trainer


@dataclass(kw_only=True)
class ClassifyConfig(ListedConfig):
    model: Emotion2vecConfig = field(default_factory=Emotion2vecConfig)


@dataclass
class Output:
    loss: Tensor
    right: Tensor
    scores: Tensor


@dataclass(frozen=True)
class Sums:
    loss: Tensor
    right: Tensor
    scores: Moments


class Network(nn.Module):
    def __init__(self, config: Emotion2vecConfig):
        super().__init__()
        self.encoder = Emotion2vec(config)
        self.head = nn.Linear(config.width, 2)

    def forward(self, waveforms: Tensor, labels: Tensor) -> Output:
        scores = self.head(self.encoder(waveforms).frames.mean(dim=1))  # (B, 2)
        loss = nn.functional.cross_entropy(scores, labels, reduction="sum")
        return Output(loss, (scores.argmax(dim=1) == labels).sum(), scores)


class Classify(Objective[Output, Sums]):
    """Tells the utterances with odd names from those with even ones."""

    name = "classify"
    validated = ("loss", "accuracy")
    counted = ("utterances",)

    def __init__(self, config: ClassifyConfig):
        torch.manual_seed(0)
        network = Network(config.model)
        super().__init__(network, network.encoder)
        self.steps = torch.zeros(())

    def counts(self, batch: MicroBatch) -> dict[str, float]:
        return {"utterances": len(batch.ids)}

    def inputs(self, batch: MicroBatch, update: int, number: int) -> tuple[Any, ...]:
        return batch.waveforms, torch.tensor([sum(map(ord, name)) % 2 for name in batch.ids])

    def loss(self, output: Output, counts: Mapping[str, float]) -> Tensor:
        return output.loss / counts["utterances"]

    def sums(self, outputs: Sequence[Output]) -> Sums:
        scores = Moments.of(torch.cat([output.scores for output in outputs]))
        loss, right = (torch.stack([getattr(o, name) for o in outputs]).sum().double() for name in ("loss", "right"))
        return Sums(loss, right, scores)

    def metrics(self, sums: Sums, counts: Mapping[str, float]) -> dict[str, Tensor | float]:
        count = counts["utterances"]
        return {"loss": sums.loss / count, "accuracy": sums.right / count, "score_std": sums.scores.std()}

    def flops(self, batch: MicroBatch) -> float:
        return 1.0

    def parameter_groups(self) -> list[ParameterGroup]:
        network = self.network
        assert isinstance(network, Network)
        return [ParameterGroup([*network.head.parameters()]), ParameterGroup([*network.encoder.parameters()], 0.1)]

    def check(self, update: int, metrics: Mapping[str, float]) -> None:
        if metrics["score_std"] < 0:
            raise TrainingError("impossible")

    def after_step(self, update: int, sums: Sums) -> None:
        self.steps += 1

    def scheduled(self, update: int) -> dict[str, float]:
        return {"temperature": 1 / update}

    def observe(self, output: Output) -> dict[str, float]:
        return {"last": float(output.scores.abs().max())}

    def state(self) -> dict[str, Tensor]:
        return {"steps": self.steps}

    def load(self, state: Mapping[str, Tensor]) -> None:
        self.steps.copy_(state["steps"])


def classify(speech: Path, run: Path, *more: str) -> tuple[FitResult, Classify]:
    kept = [word for word in TINY if word.partition(".")[0] in ("model", "optim", "data", "run")]
    settings = [*kept, f"data.train={speech}", f"run.dir={run}", "log.every=1", "model.dropout=0.1", *more]
    config = load(ClassifyConfig, None, settings, check_listed)
    built: list[Classify] = []

    def build(device: torch.device, say: Say) -> tuple[Classify, Heard | None]:
        built.append(Classify(config))
        return built[0], Heard()

    return train(config, build, lambda text: None), built[0]


def test_another_objective_trains_validates_and_resumes(
    speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ["optim.max_updates=5", "optim.accumulate=2", "checkpoint.every=2"]
    settings += ["validation.every=5", f"validation.data={speech}"]
    result, objective = classify(speech, tmp_path / "whole", *settings)
    assert result.update == 5 and objective.steps == 5
    last = metrics(tmp_path / "whole")[-1]
    watched = {"loss", "accuracy", "score_std", "grad_norm", "kept_share", "lr", "temperature", "spikes", "last"}
    assert last.keys() == {"update", "validation_loss", "validation_accuracy", *watched}
    assert last["temperature"] == 0.2
    saved = tensors(tmp_path / "whole", 5)
    assert saved["run.steps"] == 5 and {"pretrainer.head.weight", "optimizer.exp_avg.head.weight"} <= saved.keys()
    weights = objective.model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in load_model(tmp_path / "whole").state_dict().items())

    step = Trainer._step

    def dying(self: Trainer, update: int, *rest: object) -> dict[str, float]:
        if update == 4:
            raise KeyboardInterrupt
        return step(self, update, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_step", dying)
        with pytest.raises(KeyboardInterrupt):
            classify(speech, tmp_path / "parts", *settings)
    result, objective = classify(speech, tmp_path / "parts", *settings)
    assert result.update == 5 and objective.steps == 5
    assert_same_run(tmp_path / "parts", tmp_path / "whole", 5)
