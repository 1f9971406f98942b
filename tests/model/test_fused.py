"""The fused head by PyTorch's own attention, padding, groups of layers; and frames' symbols."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from networks import tiny_config, waveforms
from torch import nn
from torch.nn.functional import pad

from emotion2vec.errors import ConfigError
from emotion2vec.model.config import SYMBOLS, HeadConfig
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.model.fused import FrameSymbols, Fused
from emotion2vec.model.known_heads import build_head

FUSED = HeadConfig(kind="fused", hidden=6, acoustic=[1, 2], semantic=[3])


def fused(layers: int = 4, channels: int = 16) -> Fused:
    head = build_head(FUSED, channels, layers, ["a", "b"], torch.Generator().manual_seed(0))
    assert isinstance(head, Fused)
    torch.manual_seed(1)
    nn.init.normal_(head.acoustic)
    nn.init.normal_(head.asking.norm.weight)
    return head


def frames(batch: int = 2, layers: int = 4, time: int = 7, channels: int = 16) -> torch.Tensor:
    return torch.randn(batch, layers, time, channels, generator=torch.Generator().manual_seed(2))


def test_fusion_is_that_of_pytorchs_attention_with_a_gate() -> None:
    head, x = fused(), frames()
    theirs = nn.MultiheadAttention(16, 8, batch_first=True)
    asking = head.asking
    parts = (asking.query, asking.key, asking.value)
    theirs.in_proj_weight.data = torch.cat([part.weight for part in parts])
    theirs.in_proj_bias.data = torch.cat([part.bias for part in parts])
    theirs.out_proj.load_state_dict(asking.attended.state_dict())
    weights = torch.exp(head.acoustic) / torch.exp(head.acoustic).sum()
    acoustic, semantic = weights[0] * x[:, 0] + weights[1] * x[:, 1], x[:, 2]
    attended, _ = theirs(acoustic, semantic, semantic)
    asked = nn.functional.layer_norm(acoustic + attended, (16,), asking.norm.weight, asking.norm.bias)
    gate = torch.sigmoid(torch.cat([acoustic, asked], 2) @ head.gate.weight.T + head.gate.bias)
    expected = gate * acoustic + (1 - gate) * asked
    torch.testing.assert_close(head.fuse(x, None), expected, atol=1e-5, rtol=1e-5)

    energy = torch.tanh(expected @ head.project.weight.T + head.project.bias) @ head.query.weight.T
    shares = torch.softmax(energy + head.query.bias, dim=1)  # (B, T, 1)
    mean = (shares * expected).sum(1)
    deviation = ((shares * expected**2).sum(1) - mean**2).sqrt()
    hidden = torch.relu(torch.cat([mean, deviation], 1) @ head.hidden.weight.T + head.hidden.bias)
    scores = hidden @ head.output.weight.T + head.output.bias
    torch.testing.assert_close(head(x), scores, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("config", [FUSED, HeadConfig(kind=SYMBOLS, task=SYMBOLS)], ids=["fused", "symbols"])
def test_padding_changes_nothing(config: HeadConfig) -> None:
    head = build_head(config, 16, 4, ["a", "b", "c"], torch.Generator().manual_seed(0))
    whole, alone = frames(), frames()[1:, :, :4]
    padding = torch.arange(7) >= torch.tensor([[7], [4]])
    found = head.embed(whole.masked_fill(padding[:, None, :, None], 1e3), padding)
    torch.testing.assert_close(found[:1], head.embed(whole[:1]))
    expected = head.embed(alone)
    if config is not FUSED:  # (B, T, V), certain blanks in padding
        assert (found[1, 4:].softmax(1)[:, 0] == 1).all() and not head(whole, padding)[1, 4:].any()
        found = found[:, :4]
    torch.testing.assert_close(found[1:], expected)


@pytest.mark.parametrize(
    ("layers", "acoustic", "semantic"),
    [
        (12, [0, 1, 2, 3], [8, 9, 10, 11]),
        (3, [0], [2]),
        (1, [0], [0]),
        (2, [0], [1]),
        (24, [*range(8)], [*range(16, 24)]),
    ],
)
def test_groups_are_thirds_of_the_blocks(layers: int, acoustic: list[int], semantic: list[int]) -> None:
    head = build_head(HeadConfig(kind="fused"), 8, layers, ["a", "b"])
    assert isinstance(head, Fused) and head.groups == (acoustic, semantic)
    symbols = build_head(HeadConfig(kind=SYMBOLS, task=SYMBOLS), 8, layers, ["a", "b"])
    assert isinstance(symbols, FrameSymbols) and symbols.group == semantic


def test_layers_outside_of_the_groups_are_not_read() -> None:
    head, x = fused(), frames()
    other = x.clone()
    other[:, 3] += 1
    assert torch.equal(head(other), head(x))
    other[:, 2] += 1
    assert not torch.allclose(head(other), head(x))


def test_a_group_that_the_model_has_not_is_named() -> None:
    with pytest.raises(ConfigError, match=r"head\.semantic has block 13, and the model has 12, counted from 1"):
        build_head(replace(FUSED, semantic=[13]), 8, 12, ["a", "b"])


def test_an_encoder_gives_padded_clips_what_it_gives_them_alone() -> None:
    torch.manual_seed(0)
    model = Emotion2vec(tiny_config().model, ["a", "b"], HeadConfig(kind="fused", hidden=8)).eval()
    short = waveforms(1, 9_000, seed=1)
    batch = torch.cat([waveforms(1, 16_000), pad(short, (0, 7_000), value=3.0)])
    padding = torch.arange(16_000) >= torch.tensor([[16_000], [9_000]])
    torch.testing.assert_close(
        model.scores(model(batch, padding))[1:], model.scores(model(short)), atol=1e-5, rtol=1e-4
    )
