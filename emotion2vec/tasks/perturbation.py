"""What makes training harder on purpose: waveforms that are worse for a network.

B: utterances. S: samples.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def adversarial(
    waveforms: Tensor,
    loss: Callable[[Tensor], Tensor],
    epsilon: float,
    *,
    steps: int = 1,
    padding: Tensor | None = None,
) -> Tensor:
    """Waveforms (B, S) that are worse for a network, by a change that is bounded at every sample; without a graph.

    One step is the fast gradient sign method (Goodfellow et al., 2015); several, of 2.5 · ε / steps each, are projected
    gradient descent (Madry et al., 2018), which begins at the waveforms themselves and so draws nothing. Gradients of
    the network's weights are left as they are.

    Args:
        waveforms: (B, S) as the network hears them.
        loss: () of waveforms, to be raised; a sum over utterances treats each by itself.
        epsilon: largest change of a sample, as a share of the root mean square of its own clip, so that loud and quiet
            clips are changed alike: noise of at most −20 · log10(ε) dB below the speech.
        steps: how many.
        padding: (B, S), True = padding, which stays as it is.
    """
    with torch.inference_mode(False), torch.enable_grad():
        heard = waveforms.detach().clone()
        real = torch.ones_like(heard) if padding is None else (~padding).to(heard)
        power = (heard.square() * real).sum(dim=1, keepdim=True) / real.sum(dim=1, keepdim=True)
        radius = epsilon * power.sqrt() * real  # (B, S)
        step = 1.0 if steps == 1 else 2.5 / steps
        change = torch.zeros_like(heard)
        for _ in range(steps):
            leaf = (heard + change).requires_grad_(True)
            (gradient,) = torch.autograd.grad(loss(leaf), leaf)
            change = torch.clamp(change + step * radius * gradient.sign(), -radius, radius)
        return heard + change
