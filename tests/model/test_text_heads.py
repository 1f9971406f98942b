"""Heads that read texts: by hand, with padding, without a text, and as an average that calibration keeps."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from emotion2vec.model.config import TEXT_HEADS, HeadConfig
from emotion2vec.model.known_heads import build_head
from emotion2vec.model.text import Concatenation, CrossAttention, LateFusion, TextHead, Told


def head_of(kind: str) -> TextHead:
    config = HeadConfig(kind=kind, hidden=6, text_width=5, pooling="mean+std")
    head = build_head(config, 16, 3, ["a", "b", "c"], torch.Generator().manual_seed(0))
    assert isinstance(head, TextHead)
    torch.manual_seed(1)
    for name, parameter in head.named_parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, mean=float("norm" in name))
    return head.eval()


def given() -> tuple[torch.Tensor, Told]:
    """Three utterances, with texts of three tokens, of two, and of none."""
    torch.manual_seed(2)
    padding = torch.arange(3) >= torch.tensor([[3], [2], [0]])
    return torch.randn(3, 7, 16), Told(torch.randn(3, 3, 5), padding)


@pytest.mark.parametrize("kind", TEXT_HEADS)
def test_neither_padding_nor_what_stands_in_it_counts(kind: str) -> None:
    head, (frames, told) = head_of(kind), given()
    found = head(frames, None, told)
    behind = Told(told.states.masked_fill(told.padding.unsqueeze(2), 9.0), told.padding)
    torch.testing.assert_close(head(frames, None, behind), found)
    for row, count in enumerate((3, 2)):
        alone = Told(told.states[row : row + 1, :count], torch.zeros(1, count).bool())
        torch.testing.assert_close(head(frames[row : row + 1], None, alone), found[row : row + 1])
    padding = torch.arange(7) >= torch.tensor([[7], [5], [4]])
    heard = frames.masked_fill(padding.unsqueeze(2), 5.0)
    short = head(heard[1:2, :5], None, Told(told.states[1:2], told.padding[1:2]))
    torch.testing.assert_close(head(heard, padding, told)[1:2], short)


@pytest.mark.parametrize("kind", TEXT_HEADS)
def test_no_text_is_as_if_nothing_was_told_and_texts_count(kind: str) -> None:
    head, (frames, told) = head_of(kind), given()
    found = head(frames, None, told)
    torch.testing.assert_close(head(frames)[2], found[2])
    assert (head(frames)[:2] - found[:2]).abs().amax(dim=1).min() > 1e-3
    other = Told(told.states.flip(2), told.padding)
    assert torch.equal(head(frames, None, other)[2], found[2])


def test_late_fusion_is_an_average_of_two_classifiers() -> None:
    head, (frames, told) = head_of("text-late"), given()
    assert isinstance(head, LateFusion)
    pooled = torch.cat([frames.mean(1), frames.var(1, correction=0).sqrt()], 1)
    audio = head.output(torch.relu(pooled @ head.hidden.weight.T + head.hidden.bias))
    means = torch.stack([told.states[0].mean(0), told.states[1, :2].mean(0)])
    text = head.spoken(head.reading(means))
    share = 1 / (1 + torch.exp(-head.share))
    expected = torch.cat([(1 - share) * audio[:2] + share * text, audio[2:]])
    torch.testing.assert_close(head(frames, None, told), expected)
    before = head(frames, None, told)
    head.rescale(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.5, 1.0, 2.0]))
    after = before * torch.tensor([0.5, 1.0, 2.0]) + torch.tensor([1.0, 2.0, 3.0])
    torch.testing.assert_close(head(frames, None, told), after)


def test_concatenation_by_hand() -> None:
    head, (frames, told) = head_of("text-concatenation"), given()
    assert isinstance(head, Concatenation)
    pooled = torch.cat([frames.mean(1), frames.var(1, correction=0).sqrt()], 1)
    means = head.norm(torch.stack([told.states[0].mean(0), told.states[1, :2].mean(0)]))
    said = torch.cat([means, head.absent.unsqueeze(0)])
    hidden = torch.relu(torch.cat([pooled, said], 1) @ head.hidden.weight.T + head.hidden.bias)
    torch.testing.assert_close(head(frames, None, told), hidden @ head.output.weight.T + head.output.bias)


def test_cross_attention_is_pytorchs() -> None:
    head, (frames, told) = head_of("text-cross"), given()
    assert isinstance(head, CrossAttention)
    theirs = nn.MultiheadAttention(16, 8, batch_first=True, kdim=5, vdim=5)
    asking = head.asking
    theirs.q_proj_weight, theirs.k_proj_weight = asking.query.weight, asking.key.weight
    theirs.v_proj_weight = asking.value.weight
    theirs.in_proj_bias = nn.Parameter(torch.cat([asking.query.bias, asking.key.bias, asking.value.bias]))
    theirs.out_proj.load_state_dict(asking.attended.state_dict())
    tokens = head.reading(told.states[1:2, :2])
    attended, _ = theirs(frames[1:2], tokens, tokens)
    fused = asking.norm(frames[1:2] + attended)
    energy = torch.tanh(fused @ head.project.weight.T + head.project.bias) @ head.query.weight.T
    shares = torch.softmax(energy, dim=1)
    mean = (shares * fused).sum(1)
    deviation = ((shares * fused**2).sum(1) - mean**2).sqrt()
    hidden = torch.relu(torch.cat([mean, deviation], 1) @ head.hidden.weight.T + head.hidden.bias)
    expected = hidden @ head.output.weight.T + head.output.bias
    torch.testing.assert_close(head(frames, None, told)[1:2], expected, atol=1e-5, rtol=1e-4)
