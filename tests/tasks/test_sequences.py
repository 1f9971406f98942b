"""CTC by adding up all paths, padding and short clips, paths, and edit distance by torchmetrics."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.text import edit_distance as their_distance
from torchmetrics.text import CharErrorRate

from emotion2vec.model.fused import NEVER
from emotion2vec.tasks.sequences import ENDED, collapsed, ctc_losses, edit_distance, error_rate, least_frames


def likelihood(logits: torch.Tensor, reference: list[int]) -> float:
    """Of all paths (T,) that become the reference, the probabilities added up."""
    shares = logits.double().softmax(1).tolist()
    paths = itertools.product(range(len(shares[0])), repeat=len(shares))
    return sum(
        math.prod(row[s] for row, s in zip(shares, path, strict=True)) for path in paths if collapsed(path) == reference
    )


@pytest.mark.parametrize("reference", [[1, 2], [1, 1], [2], [1, 2, 1]])
def test_losses_add_up_all_paths(reference: list[int]) -> None:
    logits = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    logits[1, 2:] = torch.tensor([0.0, NEVER, NEVER])  # the second clip has two frames
    rows = torch.full((2, 3), ENDED)
    rows[0, : len(reference)], rows[1, :1] = torch.tensor(reference), 2
    found = ctc_losses(logits, rows)
    assert float(found[0]) == pytest.approx(-math.log(likelihood(logits[0], reference)) / len(reference), rel=1e-5)
    assert float(found[1]) == pytest.approx(-math.log(likelihood(logits[1, :2], [2])), rel=1e-5)


def test_a_clip_with_too_few_frames_teaches_nothing() -> None:
    logits = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    rows = torch.tensor([[1, 2, 1, 2], [1, ENDED, ENDED, ENDED]])
    losses = ctc_losses(logits, rows)
    losses.sum().backward()
    assert losses[0].item() == 0 and losses[1].item() > 0 and logits.grad is not None
    assert not logits.grad[0].any() and logits.grad[1].isfinite().all() and logits.grad[1].any()


@pytest.mark.parametrize(("symbols", "frames"), [("abc", 3), ("aab", 4), ("aaa", 5), ("", 0)])
def test_least_frames_are_those_with_which_a_path_exists(symbols: str, frames: int) -> None:
    assert least_frames(symbols) == frames
    numbers = ["_abc".index(letter) for letter in symbols]
    for count in range(frames + 1):
        exists = any(collapsed(path) == numbers for path in itertools.product(range(4), repeat=count))
        assert exists == (count == frames)


def test_distances_and_rates_are_those_of_torchmetrics() -> None:
    random = np.random.default_rng(0)
    words = ["".join(random.choice(list("abcd"), random.integers(1, 12))) for _ in range(60)]
    found, references = words[:30], words[30:]
    for one, other in zip(found, references, strict=True):
        assert edit_distance(one, other) == int(their_distance([one], [other], reduction="sum"))
    assert error_rate(zip(found, references, strict=True)) == pytest.approx(
        100 * float(CharErrorRate()(found, references))
    )
    assert edit_distance("", "abc") == edit_distance("abc", "") == 3


def test_paths_lose_repetitions_and_blanks() -> None:
    assert collapsed([0, 1, 1, 0, 1, 2, 2, 0, 0]) == [1, 1, 2] and collapsed([0, 0]) == []
