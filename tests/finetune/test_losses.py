"""Mixed clips, contrast and attacks: formulas, and that sharing an update out changes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from finetune.talkers import quick_config, write_model
from finetune.test_run import metrics
from torch.nn import functional

from emotion2vec.checkpoint import load_model
from emotion2vec.data.micro_batch import Mixture
from emotion2vec.errors import ConfigError
from emotion2vec.finetune.aims import MAIN, Aim
from emotion2vec.finetune.asked import Asked, asked, labels_of, mixed_up
from emotion2vec.finetune.config import without_effect
from emotion2vec.finetune.goals import ClassGoal, ValueGoal
from emotion2vec.finetune.network import Attack, TunedNetwork
from emotion2vec.finetune.run import finetune
from emotion2vec.model.config import ANGLES, HEADS, HeadConfig
from emotion2vec.model.known_heads import build_head
from emotion2vec.pretrain.config import load_config as pretrain_config
from emotion2vec.tasks.class_losses import ClassLoss
from emotion2vec.tasks.scaling import Scaling

CLASSES = ClassGoal(
    names=("a", "b", "c"),
    weights={"1": 1.0, "2": 2.0, "3": 0.5, "4": 4.0},
    numbers={"1": 0, "2": 1, "3": 2, "4": 0},
    soft={},
    rows=ClassLoss(smoothing=0.1, focal=1.5, adjustment=0.5, shares=(0.5, 0.3, 0.2)),
)
IDS = ["1", "2", "3", "4"]


class Fixed:
    """Draws one share, and each clip's follower as its partner."""

    def __init__(self, share: float):
        self.share = share

    def beta(self, a: float, b: float) -> float:
        return self.share

    def permutation(self, count: int) -> np.ndarray:
        return np.roll(np.arange(count), -1)


def mixed(one: Asked, share: float) -> Asked:
    return mixed_up(one, CLASSES, 1.0, Fixed(share))  # type: ignore[arg-type]


def test_the_loss_of_a_mixture_is_that_of_its_parts_with_their_weights() -> None:
    one = asked({MAIN: Aim(CLASSES)}, IDS)[MAIN]
    found, scores = mixed(one, 0.3), torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    partners = [1, 2, 3, 0]
    expected = sum(
        share * (CLASSES.rows.rows(scores, one.targets[rows]) * one.weights[rows]).sum()
        for share, rows in ((0.3, [0, 1, 2, 3]), (0.7, partners))
    )
    torch.testing.assert_close(CLASSES.loss(scores, found.targets, found.weights), expected)
    torch.testing.assert_close(found.weights.sum(), one.weights.sum())
    assert found.shares is not None
    torch.testing.assert_close(found.shares.sum(dim=1), torch.ones(4))


def test_mixed_clips_ask_for_both_labels_and_one_of_them_must_not_lack() -> None:
    goals = {MAIN: Aim(CLASSES), "sex": Aim(replace(CLASSES, weights={"1": 1.0, "2": 1.0, "3": 1.0}))}
    found = asked(goals, ["1", "2", "3"], [None, Mixture("4", 0.25), Mixture("1", 0.8)])
    main = found[MAIN]
    torch.testing.assert_close(main.weights, torch.tensor([1.0, 0.25 * 2 + 0.75 * 4, 0.8 * 0.5 + 0.2 * 1]))
    by_hand = torch.tensor([[1.0, 0, 0], [0.75 * 4 / 3.5, 0.25 * 2 / 3.5, 0], [0.2 / 0.6, 0, 0.4 / 0.6]])
    torch.testing.assert_close(main.targets, by_hand)
    assert found["sex"].rows.tolist() == [0, 2]
    assert labels_of(main).numbers.tolist() == [0, 0, 2]


def test_values_are_mixed_as_they_are() -> None:
    values = {"1": (1.0, 0.0), "2": (3.0, 4.0)}
    scaling = Scaling.of(np.array([*values.values()]))
    goal = ValueGoal(names=("x", "y"), weights={"1": 1.0, "2": 3.0}, values=values, scaling=scaling)
    found = asked({MAIN: Aim(goal)}, ["1"], [Mixture("2", 0.75)])[MAIN]
    torch.testing.assert_close(found.targets, torch.tensor([[1.5, 1.0]]))
    torch.testing.assert_close(found.weights, torch.tensor([1.5]))


@pytest.mark.parametrize("kind", HEADS)
def test_a_head_is_its_last_layer_on_what_it_embeds(kind: str) -> None:
    head = build_head(HeadConfig(kind=kind, hidden=4), 6, 2, ("a", "b", "c"), torch.Generator().manual_seed(0))
    frames = torch.randn(3, *([2] if head.reads_layers else []), 5, 6)
    padding = torch.arange(5).unsqueeze(0) >= torch.tensor([[5], [3], [2]])
    embedded = head.embed(frames, padding)
    assert embedded.ndim == 2
    torch.testing.assert_close(head.of_embedded(embedded), head(frames, padding))
    if kind not in ANGLES:  # the last layer is linear: scores of mixtures are mixtures of scores
        mixed = head.of_embedded(embedded.mean(dim=0, keepdim=True))
        torch.testing.assert_close(mixed, head(frames, padding).mean(dim=0, keepdim=True))


@pytest.fixture
def network(tmp_path: Path) -> TunedNetwork:
    encoder = load_model(write_model(tmp_path))
    encoder.head = build_head(HeadConfig(kind="mean"), 32, 2, ("a", "b", "c"), torch.Generator().manual_seed(0))
    return TunedNetwork(encoder, 4)


def heard() -> tuple[torch.Tensor, torch.Tensor]:
    waveforms = torch.randn(4, 6_400, generator=torch.Generator().manual_seed(0))
    padding = torch.arange(6_400).unsqueeze(0) >= torch.tensor([[6_400], [4_000], [5_000], [3_000]])
    return waveforms.masked_fill(padding, 0), padding


def test_mixup_of_a_share_of_one_is_none_and_its_gradient_is_that_by_hand(network: TunedNetwork) -> None:
    """Of cross-entropy and a linear layer: (probabilities − labels) outer the embedding, both mixed."""
    goal = replace(CLASSES, rows=ClassLoss(), weights=dict.fromkeys(IDS, 1.0))
    one = asked({MAIN: Aim(goal)}, IDS)[MAIN]
    whole, plain = (network(*heard(), {MAIN: x}, {}, 0).answers[MAIN] for x in (mixed(one, 1.0), one))
    assert torch.equal(whole.scores, plain.scores)
    assert torch.equal(goal.loss(plain.scores, plain.targets, plain.weights), goal.loss(*_parts(whole)))

    found = network(*heard(), {MAIN: mixed(one, 0.6)}, {}, 0).answers[MAIN]
    goal.loss(*_parts(found)).backward()
    head = network.encoder.head
    assert head is not None
    with torch.no_grad():
        encoded = network.encoder(*heard())
        embedded = head.embed(encoded.frames, encoded.padding)
        between = 0.6 * embedded + 0.4 * embedded.roll(-1, dims=0)
        labels = functional.one_hot(torch.tensor([0, 1, 2, 0]), 3).float()
        wanted = 0.6 * labels + 0.4 * labels.roll(-1, dims=0)
        by_hand = (head.of_embedded(between).softmax(dim=1) - wanted).T @ between
    torch.testing.assert_close(head.weight.grad, by_hand, rtol=1e-4, atol=1e-5)


def _parts(answers: object) -> tuple[torch.Tensor, ...]:
    return tuple(getattr(answers, name) for name in ("scores", "targets", "weights"))


@pytest.mark.parametrize("steps", [1, 4])
def test_attacked_clips_are_learnt_beside_the_others_and_are_worse(network: TunedNetwork, steps: int) -> None:
    one = asked({MAIN: Aim(CLASSES)}, IDS)[MAIN]
    plain = network(*heard(), {MAIN: one}, {}, 0).answers[MAIN]
    network.attack = Attack(0.05, steps, 0.25, lambda answers: CLASSES.loss(*_parts(answers)))  # type: ignore[arg-type]
    found = network(*heard(), {MAIN: one}, {}, 0).answers[MAIN]
    assert found.clean == 4 and len(found.scores) == 8
    assert torch.equal(found.scores[:4], plain.scores)
    torch.testing.assert_close(found.weights, torch.cat([0.75 * one.weights, 0.25 * one.weights]))
    before, after = (CLASSES.rows.rows(found.scores[rows], one.targets) for rows in (slice(4), slice(4, 8)))
    assert (after > before).all()
    CLASSES.loss(*_parts(found)).backward()
    assert all((p.grad is not None) == p.requires_grad for p in network.parameters())


def test_contrast_and_mixed_audio_are_the_same_however_an_update_is_shared_out(
    talkers: Path, model: Path, tmp_path: Path
) -> None:
    more = [
        "loss.contrast=0.5",
        "loss.temperature=0.3",
        "loss.class_weights=1",
        "augment.mix_prob=0.6",
        "head.kind=two",
    ]
    losses = []
    for accumulate in (1, 3):
        settings = [f"optim.accumulate={accumulate}", "optim.max_updates=1", "optim.warmup_updates=0", *more]
        finetune(quick_config(talkers, model, tmp_path / str(accumulate), *settings), lambda text: None)
        losses.append(
            [metrics(tmp_path / str(accumulate))[0][name] for name in ("loss", "contrast", "grad_norm", "UA")]
        )
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert losses[0][1] > 0


@pytest.mark.parametrize("kind", ["fgsm", "pgd"])
def test_a_frozen_encoder_is_attacked_through_and_not_kept(
    kind: str, talkers: Path, model: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    more = ["finetune.strategy=frozen", f"loss.adversarial={kind}", "loss.epsilon=0.1", "optim.max_updates=3"]
    finetune(quick_config(talkers, model, tmp_path, *more), said.append)
    assert not any("computed once" in line for line in said)
    lines = metrics(tmp_path)
    assert len(lines) == 3 and all(line["adversarial_UA"] <= line["UA"] for line in lines)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["loss.contrast=1", "data.targets=[arousal]"], r"loss\.contrast is 1.* data\.targets are values"),
        (["loss.mixup=0.2", "optim.accumulate=4"], r"loss\.mixup is 0\.2 and data\.clips 6 for 4 batches"),
        (["loss.adversarial=pgd", "run.strategy=fsdp"], r"loss\.adversarial is pgd and run\.strategy fsdp"),
        (["loss.adversarial=pdg"], r"loss\.adversarial is .pdg., expected one of none, fgsm, pgd"),
    ],
)
def test_what_cannot_work_is_refused(settings: list[str], told: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=told):
        quick_config(tmp_path / "t.csv", tmp_path, tmp_path / "run", *settings)


def test_speech_without_labels_is_not_mixed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"augment\.mix_prob is 0\.5, expected 0: there are no labels to mix"):
        pretrain_config(None, [f"data.train={tmp_path}", f"run.dir={tmp_path}", "augment.mix_prob=0.5"])


def test_what_does_nothing_is_said(tmp_path: Path) -> None:
    more = [
        "loss.temperature=0.2",
        "loss.steps=5",
        "loss.adversarial=fgsm",
        "finetune.keep_gb=1",
        "augment.mix_least=0.7",
    ]
    told = without_effect(quick_config(tmp_path / "t.csv", tmp_path, tmp_path / "run", *more))
    assert {line.split()[0] for line in told} == {
        "loss.temperature",
        "loss.steps",
        "finetune.keep_gb",
        "augment.mix_least",
    }
