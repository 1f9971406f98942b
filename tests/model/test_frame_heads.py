"""Heads on frames against torch's own layers and the formulas of their papers; padding is in `test_known_heads`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from emotion2vec.model.frame_heads import (
    SHARPNESS,
    Angles,
    Attention,
    AttentiveCosine,
    AttentiveStatistics,
    Convolutions,
    Cosine,
    LayerConvolutions,
    TransformerLeg,
)
from emotion2vec.model.heads import Head
from emotion2vec.tasks.scaling import Scaling

FRAMES = torch.randn(3, 11, 6, generator=torch.Generator().manual_seed(0))


def drawn() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def test_attentive_statistics_are_weighted_means_and_deviations() -> None:
    head = AttentiveStatistics(6, 4, 5, drawn())
    for row, frames in zip(head(FRAMES), FRAMES.numpy(), strict=True):
        energy = np.tanh(frames @ head.project.weight.detach().numpy().T + head.project.bias.detach().numpy())
        energy = energy @ head.query.weight.detach().numpy()[0]
        shares = np.exp(energy) / np.exp(energy).sum()
        mean = np.average(frames, axis=0, weights=shares)
        deviation = np.sqrt(np.average((frames - mean) ** 2, axis=0, weights=shares))
        expected = head.output(torch.from_numpy(np.concatenate([mean, deviation])).float())
        torch.testing.assert_close(row, expected, atol=1e-5, rtol=1e-4)


def test_frames_that_are_all_the_same_have_gradients() -> None:
    head = AttentiveStatistics(6, 4, 5, drawn())
    frames = torch.ones(1, 4, 6, requires_grad=True)
    head(frames).sum().backward()
    assert frames.grad is not None and frames.grad.isfinite().all()


def test_convolutions_are_torchs_of_one_frame() -> None:
    head = Convolutions(6, 4, 5, drawn())
    first, second = nn.Conv1d(6, 4, 1), nn.Conv1d(4, 4, 1)
    for layer, ours in ((first, head.first), (second, head.second)):
        layer.load_state_dict({"weight": ours.weight.unsqueeze(2), "bias": ours.bias})
    seen = second(first(FRAMES.transpose(1, 2)).relu()).relu().mean(dim=2)
    torch.testing.assert_close(head(FRAMES), head.output(head.hidden(seen).relu()))


def test_layers_are_mixed_by_learned_shares_after_each_is_standardized() -> None:
    layers = torch.stack([FRAMES, 3 * FRAMES + 1, -FRAMES], dim=1)  # (B, L, T, D)
    head = LayerConvolutions(3, 6, 4, 5, drawn())
    with torch.no_grad():
        head.mixing.copy_(torch.tensor([0.6, 0.3, 0.1]).log())
    plain = Convolutions(6, 4, 5, drawn())
    torch.testing.assert_close(head(layers), plain(0.6 * FRAMES + 0.3 * (3 * FRAMES + 1) - 0.1 * FRAMES))
    shift, scale = np.array([[0.0], [1.0], [0.0]]) * np.ones(6), np.array([[1.0], [3.0], [-1.0]]) * np.ones(6)
    head.standardize(Scaling(shift, scale))
    torch.testing.assert_close(head(layers), plain(FRAMES))


@pytest.mark.parametrize("hidden", [8, 6])
def test_the_block_is_torchs(hidden: int) -> None:
    head = TransformerLeg(6, hidden, 5, drawn()).eval()
    layer = nn.TransformerEncoderLayer(
        hidden, 4 if hidden == 8 else 1, 2 * hidden, 0.0, "gelu", batch_first=True, norm_first=True
    )
    block = head.block
    names = {"self_attn.in_proj_": block.attention.qkv, "self_attn.out_proj.": block.attention.proj}
    names |= {"linear1.": block.fc1, "linear2.": block.fc2, "norm1.": block.norm1, "norm2.": block.norm2}
    layer.load_state_dict(
        {f"{name}{part}": getattr(ours, part) for name, ours in names.items() for part in ("weight", "bias")}
    )
    padding = torch.arange(11) >= torch.tensor([[11], [7], [4]])
    expected = layer.train()(head.project(FRAMES), src_key_padding_mask=padding)
    real = (~padding).unsqueeze(2)
    mean = (head.norm(expected) * real).sum(dim=1) / real.sum(dim=1)
    torch.testing.assert_close(head(FRAMES, padding), head.output(mean), atol=1e-5, rtol=1e-4)


def test_cosines_are_those_of_torch_whatever_the_lengths() -> None:
    head = Cosine(6, 4, 5, drawn())
    pooled = FRAMES.mean(dim=1)
    each = [functional.cosine_similarity(head.hidden(pooled), one.unsqueeze(0)) for one in head.directions]
    torch.testing.assert_close(head(FRAMES), SHARPNESS * torch.stack(each, dim=1))
    with torch.no_grad():
        before = head(FRAMES)
        head.directions.mul_(7.0)
    torch.testing.assert_close(head(FRAMES), before)


@pytest.mark.parametrize("kind", [Cosine, AttentiveCosine])
def test_scores_of_angles_take_in_a_scale_and_keep_it(kind: type[Angles]) -> None:
    head, other = kind(6, 4, 5, drawn()), kind(6, 4, 5)  # type: ignore[call-arg, arg-type]
    scores = head(FRAMES)
    scale, mean = torch.linspace(0.5, 2, 5), torch.arange(5.0)
    head.rescale(mean, scale)
    head.rescale(torch.ones(5), torch.full((5,), 3.0))
    torch.testing.assert_close(head(FRAMES), 3 * (scores * scale + mean) + 1)
    other.load_state_dict(head.state_dict())
    torch.testing.assert_close(other(FRAMES), head(FRAMES))


def test_attention_weighs_what_an_angle_is_taken_of() -> None:
    head, plain = AttentiveCosine(6, 4, 5, drawn()), Attention(6, 4, 4, drawn())
    padding = torch.arange(11) >= torch.tensor([[11], [7], [4]])
    for name in ("project", "query"):
        getattr(plain, name).load_state_dict(getattr(head, name).state_dict())
    torch.testing.assert_close(head.embed(FRAMES, padding), head.hidden(plain.embed(FRAMES, padding)))


@pytest.mark.parametrize("kind", [AttentiveStatistics, Convolutions, TransformerLeg, Cosine, AttentiveCosine])
def test_weights_come_from_the_generator_alone(kind: type[Head]) -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = kind(6, 8, 5, drawn())  # type: ignore[call-arg, arg-type]
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    second = kind(6, 8, 5, drawn())  # type: ignore[call-arg, arg-type]
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
