"""Sequences of symbols, such as phonemes: their likelihood in frames (CTC), the best path, and what is wrong with it.

n: clips. T: frames. V: symbols, the blank first. U: symbols of the longest reference.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from itertools import groupby, pairwise

import torch
from torch import Tensor
from torch.nn import functional

BLANK = 0
"""Number of the symbol for nothing new."""

ENDED = -1
"""Stands behind the references that are shorter than others."""


def ctc_losses(logits: Tensor, references: Tensor) -> Tensor:
    """−log of the likelihood of each clip's reference by CTC (Graves et al., 2006), per symbol, (n,) float32.

    It is 0, without a gradient, where there are too few frames for a reference.

    Args:
        logits: (n, T, V); frames of padding are certain to be blank.
        references: (n, U) numbers of symbols, `ENDED` behind them.
    """
    lengths = (references != ENDED).sum(dim=1)  # (n,)
    losses = functional.ctc_loss(
        logits.float().log_softmax(dim=2).transpose(0, 1),  # (T, n, V)
        references.clamp_min(0),
        torch.full_like(lengths, logits.shape[1]),
        lengths,
        blank=BLANK,
        reduction="none",
        zero_infinity=True,
    )
    return losses / lengths.clamp_min(1)


def least_frames(symbols: Sequence[Hashable]) -> int:
    """Frames that CTC needs for symbols: one each, and a blank between two that are the same."""
    return len(symbols) + sum(a == b for a, b in pairwise(symbols))


def collapsed(path: Iterable[int]) -> list[int]:
    """The symbols of a path over frames: repetitions once, then without blanks."""
    return [number for number, _ in groupby(path) if number != BLANK]


def edit_distance(found: Sequence[Hashable], reference: Sequence[Hashable]) -> int:
    """Fewest insertions, deletions and substitutions that make one of the other (Levenshtein)."""
    row = list(range(len(reference) + 1))
    for number, one in enumerate(found, 1):
        corner, row[0] = row[0], number
        for place, other in enumerate(reference, 1):
            corner, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, corner + (one != other))
    return row[-1]


def error_rate(pairs: Iterable[tuple[Sequence[Hashable], Sequence[Hashable]]]) -> float:
    """Edits per symbol of the references in percent, of pairs of what was found and its reference; PER of phonemes."""
    edits = symbols = 0
    for found, reference in pairs:
        edits, symbols = edits + edit_distance(found, reference), symbols + len(reference)
    return 100 * edits / symbols
