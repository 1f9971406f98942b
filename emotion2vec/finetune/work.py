"""How much a fine-tuning update computes, from the shapes alone."""

from __future__ import annotations

from emotion2vec.model.speech import Part, SpeechEncoder


def clip_flops(encoder: SpeechEncoder, samples: int, below: int = 0) -> float:
    """Operations of one clip, forward and backward: two per weight and frame, and of blocks their attention.

    A part that learns costs three times its forward pass, one above it that does not, twice, and the parts `below`
    nothing.
    """
    frames, width = encoder.config.grid.count(samples), encoder.config.width
    total, reached = 0.0, False
    for part in encoder.parts()[below:]:
        learns = any(parameter.requires_grad for parameter in part.parameters())
        forward = 2.0 * frames * _weights(part) + (4.0 * frames**2 * width if part.name.startswith("block") else 0.0)
        total += forward * (1 + reached + learns)
        reached = reached or learns
    return total


def _weights(part: Part) -> int:
    return sum(parameter.numel() for parameter in part.parameters() if parameter.ndim > 1)
