"""How much a fine-tuning update computes, from the shapes alone."""

from __future__ import annotations

from emotion2vec.model.speech import Part, SpeechEncoder


def clip_flops(encoder: SpeechEncoder, samples: int, below: int = 0) -> float:
    """Operations of one clip, forward and backward: two per weight and frame, and of blocks their attention.

    A part that learns costs three times its forward pass, one above it that does not, twice, one with adapters about
    twice, and the parts `below` nothing.
    """
    frames, width = encoder.config.grid.count(samples), encoder.config.width
    total, reached = 0.0, False
    for part in encoder.parts()[below:]:
        learnt, weights = (_weights(part, learnt=only) for only in (True, False))
        forward = 2.0 * frames * weights + (4.0 * frames**2 * width if part.name.startswith("block") else 0.0)
        total += forward * (1 + reached + learnt / max(1, weights))
        reached = reached or learnt > 0
    return total


def _weights(part: Part, *, learnt: bool) -> int:
    """Numbers in the matrices of a part, or only in those that learn."""
    return sum(p.numel() for p in part.parameters() if p.ndim > 1 and (p.requires_grad or not learnt))
