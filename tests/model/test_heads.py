"""Heads against plain layers, padded and alone; labels; standardization."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from networks import tiny_config
from torch import nn

from emotion2vec.audio.samples import normalize
from emotion2vec.errors import ConfigError
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.model.frame_heads import Attention
from emotion2vec.model.heads import (
    FrameMlp,
    Head,
    LayerMix,
    MeanLinear,
    MeanTwoLayers,
    Recurrent,
    masked_mean,
)
from emotion2vec.tasks.scaling import Scaling

HEADS = {
    "linear": MeanLinear(6, 3),
    "deviations": MeanLinear(12, 3),
    "two layers": MeanTwoLayers(6, 4, 3),
    "layers": LayerMix(2, 6, 4, 3),
    "layers' deviations": LayerMix(2, 12, 4, 3),
    "mlp": FrameMlp(6, 4, 3),
    "attention": Attention(6, 4, 3),
    "gru": Recurrent(6, 4, 3),
}
LENGTHS = torch.tensor([5, 7, 2])


def batch(head: Head) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames (3, 8, 6), or (3, 2, 8, 6) of layers, with rubbish in the padding (3, 8), which is longer than any."""
    generator = torch.Generator().manual_seed(0)
    frames = torch.randn((3, 2, 8, 6) if isinstance(head, LayerMix) else (3, 8, 6), generator=generator)
    padding = torch.arange(8) >= LENGTHS.unsqueeze(1)
    hidden = padding.unsqueeze(-1) if frames.ndim == 3 else padding[:, None, :, None]
    return frames.masked_fill(hidden, 1e6), padding


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("standardize", [False, True])
def test_padding_never_shows_and_standardization_is_that_of_what_is_read(head: Head, standardize: bool) -> None:
    frames, padding = batch(head)
    width = {"deviations": 12, "layers' deviations": 12}.get(next(k for k, v in HEADS.items() if v is head), 6)
    shape = (2, width) if isinstance(head, LayerMix) else (width,)
    random = np.random.default_rng(0)
    shift, scale = random.standard_normal(shape), random.uniform(0.5, 2, shape)
    plain = (head.shift, head.scale)
    if standardize:
        head.standardize(Scaling(shift, scale))
    scores = head(frames, padding)
    assert scores.shape == (3, 3)
    for row, (one, length) in enumerate(zip(frames, LENGTHS.tolist(), strict=True)):
        torch.testing.assert_close(head(one[None, ..., :length, :])[0], scores[row])
    head.shift, head.scale = plain
    if standardize and width == 6:  # means and what follows are of standardized frames
        by, over = (torch.from_numpy(x).float().unsqueeze(-2) for x in (shift, scale))
        torch.testing.assert_close(head((frames - by) / over, padding), scores, rtol=1e-4, atol=1e-5)


def test_the_mean_leaves_padding_out() -> None:
    frames, padding = batch(HEADS["mlp"])
    expected = torch.stack([one[:length].mean(dim=0) for one, length in zip(frames, LENGTHS.tolist(), strict=True)])
    torch.testing.assert_close(masked_mean(frames, padding), expected)
    torch.testing.assert_close(masked_mean(frames[:, :2]), frames[:, :2].mean(dim=1))


def test_two_layers_are_two_layers() -> None:
    head, frames = MeanTwoLayers(6, 8, 3), torch.randn(10, 4, 6)
    reference = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 3))
    reference.load_state_dict(
        {name.replace("hidden", "0").replace("output", "1"): x for name, x in head.state_dict().items()}
    )
    found, expected = head(frames), reference(frames).mean(dim=1)
    torch.testing.assert_close(found, expected)
    expected.square().sum().backward()
    found.square().sum().backward()
    for ours, theirs in zip(head.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_the_mlp_is_the_papers() -> None:
    head, frames = FrameMlp(6, 8, 3), torch.randn(2, 4, 6)
    expected = head.output(nn.functional.relu(frames @ head.hidden.weight.T + head.hidden.bias).mean(dim=1))
    torch.testing.assert_close(head(frames), expected)


def test_layers_are_mixed_by_softmax_weights() -> None:
    head, layers = LayerMix(3, 6, 8, 2), torch.randn(2, 3, 4, 6)
    nn.init.normal_(head.mixing)
    weights = head.mixing.exp() / head.mixing.exp().sum()
    mixed = sum(weights[layer] * layers[:, layer].mean(dim=1) for layer in range(3))
    torch.testing.assert_close(head(layers), head.output(head.hidden(mixed)))
    assert head.layer_weights().sum().item() == pytest.approx(1)


def test_attention_weighs_frames() -> None:
    head, frames = Attention(6, 4, 2), torch.randn(1, 5, 6)
    energy = (frames[0] @ head.project.weight.T + head.project.bias).tanh() @ head.query.weight[0] + head.query.bias
    pooled = (energy.exp() / energy.exp().sum()) @ frames[0]
    torch.testing.assert_close(head(frames)[0], head.output(pooled))


def test_deviations_are_pooled_where_the_width_asks_for_them() -> None:
    head, frames = MeanLinear(12, 3), torch.randn(2, 9, 6)
    pooled = torch.cat([frames.mean(dim=1), frames.std(dim=1, unbiased=False)], dim=1)
    torch.testing.assert_close(head(frames), pooled @ head.weight.T + head.bias)
    with pytest.raises(ValueError, match="frames have 5 channels, expected 12 or, with deviations, 6"):
        head(torch.randn(2, 9, 5))


def test_standardization_is_saved_and_loaded_and_scores_can_be_given_units() -> None:
    head, frames = FrameMlp(6, 4, 2), torch.randn(2, 9, 6)
    assert set(head.state_dict()) == {f"{layer}.{x}" for layer in ("hidden", "output") for x in ("weight", "bias")}
    head.standardize(Scaling(np.arange(6.0), np.arange(1.0, 7.0)))
    plain, units = head(frames), (torch.tensor([3.0, -1.0]), torch.tensor([0.5, 2.0]))
    head.rescale(*units)
    torch.testing.assert_close(head(frames), plain * units[1] + units[0])
    stream = io.BytesIO()
    torch.save(head.state_dict(), stream)
    stream.seek(0)
    again = FrameMlp(6, 4, 2)
    again.load_state_dict(torch.load(stream, weights_only=True))
    assert torch.equal(again(frames), head(frames))


@pytest.mark.parametrize("kind", [MeanTwoLayers, FrameMlp, Attention, Recurrent])
def test_weights_from_a_generator_leave_the_random_state_alone(kind: type[FrameMlp]) -> None:
    before = torch.get_rng_state()
    first, second = (kind(6, 4, 3, torch.Generator().manual_seed(1)) for _ in "ab")
    assert torch.equal(torch.get_rng_state(), before)
    frames = torch.randn(1, 5, 6)
    assert torch.equal(first(frames), second(frames)) and not torch.equal(first(frames), kind(6, 4, 3)(frames))


def test_probabilities_are_a_softmax_over_the_used_labels() -> None:
    head = MeanLinear(6, 4, labels=["angry", "unuse_0", "happy", "unuse_0"])
    pooled = torch.randn(3, 6)
    logits = pooled @ head.weight.T + head.bias
    assert torch.equal(head.of_pooled(pooled), nn.functional.linear(pooled, head.weight, head.bias))
    torch.testing.assert_close(head(pooled.unsqueeze(1)), logits)
    expected = logits[:, [0, 2]].softmax(dim=1)
    torch.testing.assert_close(head.probabilities(logits)[:, [0, 2]], expected)
    assert torch.all(head.probabilities(logits)[:, [1, 3]] == 0)
    rows = head.by_label(logits)
    assert [list(row) for row in rows] == [["angry", "happy"]] * 3 and head.used_labels == ["angry", "happy"]
    assert rows[1]["happy"] == pytest.approx(expected[1, 1].item())


def test_half_precision_probabilities_are_float32() -> None:
    head = MeanLinear(6, 2, labels=["a", "b"]).bfloat16()
    assert head.probabilities(head(torch.randn(2, 3, 6).bfloat16())).dtype == torch.float32


@pytest.mark.parametrize("labels", [[], ["unuse_0"], ["a", "b", "a"]])
def test_labels_that_cannot_be_told_apart(labels: list[str]) -> None:
    with pytest.raises(ConfigError, match="expected different ones"):
        MeanLinear(6, len(labels), labels=labels)


def test_a_model_predicts_from_the_mean_of_its_frames() -> None:
    model = Emotion2vec(tiny_config().model, ["angry", "happy"]).eval()
    assert model.head is not None and {"head.weight", "head.bias"} <= set(model.state_dict())
    samples = torch.randn(8_000)
    pooled = torch.from_numpy(model.extract_features(samples, 16_000).utterance)
    encoded = torch.from_numpy(normalize(samples.numpy())).unsqueeze(0)
    found = model.predict(samples, 16_000)
    assert found == pytest.approx(model.head.by_label(model.head(model(encoded).frames))[0])
    assert found == pytest.approx(model.head.by_label(model.head.of_pooled(pooled.unsqueeze(0)))[0])
    with pytest.raises(ConfigError, match="this model has no head"):
        Emotion2vec(tiny_config().model).predict(samples, 16_000)
