"""What the backbone sees where frames are left out, and which blocks it runs."""

from __future__ import annotations

import pytest
import torch
from networks import tiny_config

from emotion2vec.model.backbone import Backbone
from emotion2vec.model.encoder import Emotion2vec

POSITIONS = ["convolution", "sinusoid"]


def backbone(positions: str = "convolution", *overrides: str) -> Backbone:
    torch.manual_seed(0)
    found = Emotion2vec(tiny_config(f"model.positions={positions}", *overrides).model).eval().backbone
    for parameter in found.parameters():  # biases, norms and scales that differ
        torch.nn.init.normal_(parameter, 0.5, 0.3) if parameter.ndim < 2 else None
    return found


def frames(batch: int = 2, count: int = 30) -> torch.Tensor:
    return torch.randn(batch, count, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("positions", POSITIONS)
@torch.no_grad()
def test_seeing_all_frames_by_number_is_seeing_all(positions: str) -> None:
    model, local = backbone(positions), frames()
    every = torch.arange(30).expand(2, -1)
    torch.testing.assert_close(model(local, visible=every).x, model(local).x, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("positions", POSITIONS)
@torch.no_grad()
def test_frames_that_are_seen_are_where_they_were_among_zeros(positions: str) -> None:
    model, local = backbone(positions), frames()
    visible = torch.tensor([[0, 3, 4, 11, 29], [1, 2, 9, 20, 21]])
    hidden = torch.ones(2, 30, dtype=torch.bool).scatter(1, visible, False)
    count = model(local).x.shape[1] - 30
    alone = model(local, visible=visible).embedded[:, count:]
    among = model(local.masked_fill(hidden.unsqueeze(2), 0.0)).embedded[:, count:]
    expected = torch.stack([row[seen] for row, seen in zip(among, visible, strict=True)])
    torch.testing.assert_close(alone, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_block_that_is_left_out_changes_nothing_and_its_output_is_that_before() -> None:
    model, local = backbone(), frames()
    blocks = len(model.prenet) + len(model.blocks)
    for skipped in range(blocks):
        found = model(local, skip_blocks={skipped})
        assert len(found.layers) == blocks
        assert len(found.ffn) == len(model.blocks) - (skipped >= len(model.prenet))
        inputs = [found.embedded, *found.layers]
        for number, (before, after) in enumerate(zip(inputs, found.layers, strict=False)):
            is_last = number == blocks - 1
            assert torch.equal(after, model.final_norm(before) if is_last else before) == (number == skipped)


@torch.no_grad()
def test_what_enters_a_block_may_be_changed_before_it() -> None:
    model, local = backbone(), frames()
    plain = model(local)
    for number in range(len(plain.layers)):
        found = model(local, before={number: lambda x: 2 * x})
        same = [torch.equal(one, other) for one, other in zip(plain.layers, found.layers, strict=True)]
        assert same == [place < number for place in range(len(same))]
        assert torch.equal(found.embedded, plain.embedded)
