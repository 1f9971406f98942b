"""The classification head."""

from __future__ import annotations

import pytest
import torch
from networks import tiny_config

from emotion2vec.errors import ConfigError
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.model.heads import Head


def test_scores_are_a_softmax_over_the_used_labels() -> None:
    head = Head(6, ["angry", "unuse_0", "happy", "unuse_0"])
    pooled = torch.randn(3, 6)
    logits = pooled @ head.weight.T + head.bias
    assert torch.equal(head(pooled), torch.nn.functional.linear(pooled, head.weight, head.bias))
    expected = logits[:, [0, 2]].softmax(dim=1)
    torch.testing.assert_close(head.scores(pooled)[:, [0, 2]], expected)
    assert torch.all(head.scores(pooled)[:, [1, 3]] == 0)
    rows = head.by_label(pooled)
    assert [list(row) for row in rows] == [["angry", "happy"]] * 3
    assert rows[1]["happy"] == pytest.approx(expected[1, 1].item())


def test_half_precision_scores_are_float32() -> None:
    scores = Head(6, ["a", "b"]).bfloat16().scores(torch.randn(2, 6).bfloat16())
    assert scores.dtype == torch.float32


@pytest.mark.parametrize("labels", [[], ["unuse_0"], ["a", "b", "a"]])
def test_labels_that_cannot_be_told_apart(labels: list[str]) -> None:
    with pytest.raises(ConfigError, match="expected different ones"):
        Head(6, labels)


def test_a_model_predicts_from_the_mean_of_its_frames() -> None:
    model = Emotion2vec(tiny_config().model, ["angry", "happy"]).eval()
    assert model.head is not None and {"head.weight", "head.bias"} <= set(model.state_dict())
    samples = torch.randn(8_000)
    pooled = torch.from_numpy(model.extract_features(samples, 16_000).utterance)
    found = model.predict(samples, 16_000)
    assert found == pytest.approx(model.head.by_label(pooled.unsqueeze(0))[0])
    with pytest.raises(ConfigError, match="this model has no head"):
        Emotion2vec(tiny_config().model).predict(samples, 16_000)
