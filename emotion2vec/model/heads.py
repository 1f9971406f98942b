"""Heads: networks from an encoder's frames to scores, the same for probing, fine-tuning and prediction.

A head is called with frames (B, T, D) and their padding (B, T), True = padding, or None where nothing is padded, and
gives scores (B, K). It standardizes by itself where that was part of its training (`Head.standardize`). Weights are
drawn from a generator where one is given, so that heads that are made in several threads do not disturb each other.

B: utterances. L: layers. T: frames. D: channels of a frame. P: channels of a pooled utterance. H: hidden width.
E: channels of an embedding. K: scores, one per class (logits) or dimension of values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from emotion2vec.errors import ConfigError
from emotion2vec.model.config import HeadConfig
from emotion2vec.model.seeded import seeded_gru, seeded_linear
from emotion2vec.tasks.scaling import Scaling

UNUSED = "unuse"
"""Labels that start with this hold a place in the head and get no probability (FunASR's convention)."""


def masked_mean(x: Tensor, padding: Tensor | None = None) -> Tensor:
    """Mean over time (B, D) or (B, L, D) of what is no padding (B, T) in (B, T, D) or (B, L, T, D)."""
    if padding is None:
        return x.mean(dim=-2)
    real = ~padding if x.ndim == 3 else ~padding.unsqueeze(1)  # (B, T) or (B, 1, T)
    return x.masked_fill(~real.unsqueeze(-1), 0.0).sum(dim=-2) / real.sum(dim=-1, keepdim=True)


def pool(frames: Tensor, padding: Tensor | None, width: int) -> Tensor:
    """Pool over time, as the width P asks for: the mean for D, the mean and the standard deviation for 2 D.

    Args:
        frames: (B, T, D) or (B, L, T, D).
        padding: (B, T).
        width: P.

    Returns:
        (B, P) or (B, L, P).

    Raises:
        ValueError: P is neither D nor 2 D.
    """
    channels = frames.shape[-1]
    if width not in (channels, 2 * channels):
        raise ValueError(f"frames have {channels} channels, expected {width} or, with deviations, {width / 2:g}")
    mean = masked_mean(frames, padding)
    if width == channels:
        return mean
    variance = masked_mean((frames - mean.unsqueeze(-2)).square(), padding)
    return torch.cat([mean, variance.sqrt()], dim=-1)


class Head(nn.Module):
    """What all heads have: standardization of what they read, and names of what they tell apart.

    Attributes:
        labels: names of the scores, none where they have no names.
        config: which head it is, as model folders say it.
        target: what it tells; empty for the main head of a model.
        reads_layers: whether its frames are those of all layers, (B, L, T, D).
        reads_text: whether it takes what is said, `model.text.Told`, beside them.
        optional: buffers that not every such head has.
        shift: what is subtracted from channels, (D) of frames or (P) or (L, P) of pooled utterances; None for nothing.
        scale: what they are divided by then.
    """

    config: HeadConfig = HeadConfig()
    target: str = ""
    labels: tuple[str, ...] = ()
    reads_layers = False
    reads_text = False
    optional: tuple[str, ...] = ("shift", "scale")
    shift: Tensor | None
    scale: Tensor | None

    def __init__(self, labels: Sequence[str] | None = None):
        super().__init__()
        if labels is not None:
            self.take_labels(labels)
        self.register_buffer("shift", None)
        self.register_buffer("scale", None)

    def forward(self, frames: Tensor, padding: Tensor | None = None) -> Tensor:
        """Scores (B, K) of frames (B, T, D) with padding (B, T)."""
        return self.of_embedded(self.embed(frames, padding))

    def embed(self, frames: Tensor, padding: Tensor | None = None) -> Tensor:
        """What the last layer reads of utterances: one vector each, whatever their lengths, (B, E)."""
        raise NotImplementedError

    def of_embedded(self, embedded: Tensor) -> Tensor:
        """Scores (B, K) by the last layer, of what `embed` gave (B, E)."""
        last: Any = self.output
        scores: Tensor = last(embedded)
        return scores

    def take_labels(self, labels: Sequence[str]) -> None:
        """Name the scores. ConfigError: no label may get a probability, or one is there twice."""
        self.labels = tuple(labels)
        used = self.used_labels
        if not used or len(set(used)) < len(used):
            raise ConfigError(f"the labels of a head are {', '.join(labels) or 'none'}, expected different ones")

    @property
    def used_labels(self) -> list[str]:
        """Labels that may get a probability."""
        return [label for label in self.labels if not label.startswith(UNUSED)]

    def standardize(self, scaling: Scaling) -> None:
        """Standardize from now on what is read."""
        like = next(self.parameters())
        self.shift, self.scale = (
            torch.as_tensor(x, dtype=like.dtype).to(like.device) for x in (scaling.shift, scaling.scale)
        )

    def standardized(self, x: Tensor) -> Tensor:
        """What is read (..., channels), standardized where the head does."""
        return x if self.shift is None or self.scale is None else (x - self.shift) / self.scale

    @torch.no_grad()
    def rescale(self, mean: Tensor, scale: Tensor) -> None:
        """Let the last layer give scores · scale + mean, (K,) each, from now on."""
        last: Any = getattr(self, "output", self)
        last.weight.mul_(scale.unsqueeze(1))
        last.bias.mul_(scale).add_(mean)

    def probabilities(self, scores: Tensor) -> Tensor:
        """Probabilities (B, K) of classes from their scores (B, K), float32; unused labels have 0."""
        unused = torch.tensor([label.startswith(UNUSED) for label in self.labels], device=scores.device)
        return scores.float().masked_fill(unused, float("-inf")).softmax(dim=1)  # (B, K)

    def by_label(self, scores: Tensor) -> list[dict[str, float]]:
        """Probabilities by label from scores (B, K), unused labels left out; of a head of values these as they are."""
        answers = scores.float() if self.config.task == "values" else self.probabilities(scores)
        return [
            {label: value for label, value in zip(self.labels, row, strict=True) if not label.startswith(UNUSED)}
            for row in answers.tolist()
        ]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Take what is optional from saved weights that have it."""
        for name in self.optional:
            if (saved := state_dict.get(prefix + name)) is not None:
                setattr(self, name, torch.empty_like(saved, device=next(self.parameters()).device))
        super()._load_from_state_dict(state_dict, prefix, *args)


class PooledHead(Head):
    """A head that reads utterances pooled over time, see `pool`.

    Attributes:
        width: P.
    """

    width: int

    def forward(self, frames: Tensor, padding: Tensor | None = None) -> Tensor:
        """See `Head`."""
        return self.of_pooled(pool(frames, padding, self.width))

    def embed(self, frames: Tensor, padding: Tensor | None = None) -> Tensor:
        """See `Head`."""
        return self.embed_pooled(pool(frames, padding, self.width))

    def of_pooled(self, pooled: Tensor) -> Tensor:
        """Scores (B, K) of pooled utterances (B, P)."""
        return self.of_embedded(self.embed_pooled(pooled))

    def embed_pooled(self, pooled: Tensor) -> Tensor:
        """What the last layer reads (B, E) of pooled utterances (B, P)."""
        raise NotImplementedError


class MeanLinear(PooledHead):
    """One Linear layer over the mean of an utterance's frames, as FunASR's emotion2vec+ models have it."""

    def __init__(
        self,
        width: int,
        outputs: int,
        generator: torch.Generator | None = None,
        *,
        labels: Sequence[str] | None = None,
    ):
        super().__init__(labels)
        self.width = width
        layer = seeded_linear(width, outputs, generator)
        self.weight, self.bias = layer.weight, layer.bias

    @classmethod
    def of(cls, weight: np.ndarray, bias: np.ndarray) -> MeanLinear:
        """The head of weights (K, P) and biases (K,) that were fitted elsewhere."""
        head = cls(weight.shape[1], weight.shape[0], torch.Generator())
        head.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)})
        return head.requires_grad_(False).eval()

    def embed_pooled(self, pooled: Tensor) -> Tensor:
        """See `PooledHead`."""
        return self.standardized(pooled)

    def of_embedded(self, embedded: Tensor) -> Tensor:
        """See `Head`."""
        return functional.linear(embedded, self.weight, self.bias)


class MeanTwoLayers(PooledHead):
    """SUPERB's: Linear P → H, mean over time, Linear H → K (Yang et al., 2021).

    Both layers are linear, so the mean can be taken first, and for scores alone they are multiplied out: the same
    function and gradients, less work.
    """

    def __init__(self, width: int, hidden: int, outputs: int, generator: torch.Generator | None = None):
        super().__init__()
        self.width = width
        self.hidden = seeded_linear(width, hidden, generator)
        self.output = seeded_linear(hidden, outputs, generator)

    def of_pooled(self, pooled: Tensor) -> Tensor:
        """See `PooledHead`."""
        weight = self.output.weight @ self.hidden.weight  # (K, P)
        bias = self.output.weight @ self.hidden.bias + self.output.bias  # (K,)
        return functional.linear(self.standardized(pooled), weight, bias)

    def embed_pooled(self, pooled: Tensor) -> Tensor:
        """See `PooledHead`."""
        embedded: Tensor = self.hidden(self.standardized(pooled))
        return embedded


class LayerMix(PooledHead):
    """Softmax weights over layers, then SUPERB's two linear layers (Yang et al., 2021); reads frames (B, L, T, D)."""

    reads_layers = True

    def __init__(self, layers: int, width: int, hidden: int, outputs: int, generator: torch.Generator | None = None):
        super().__init__()
        self.width = width
        self.mixing = nn.Parameter(torch.zeros(layers))
        self.hidden = seeded_linear(width, hidden, generator)
        self.output = seeded_linear(hidden, outputs, generator)

    def layer_weights(self) -> Tensor:
        """(L,), adding up to 1."""
        return self.mixing.detach().softmax(dim=0)

    def embed_pooled(self, pooled: Tensor) -> Tensor:
        """What the last layer reads (B, E) of the pooled layers of utterances (B, L, P)."""
        mixed = torch.einsum("l,blp->bp", self.mixing.softmax(dim=0), self.standardized(pooled))
        embedded: Tensor = self.hidden(mixed)
        return embedded


class FrameMlp(Head):
    """The paper's: Linear D → H and ReLU per frame, mean over time, Linear H → K (Ma et al., ACL 2024)."""

    def __init__(self, channels: int, hidden: int, outputs: int, generator: torch.Generator | None = None):
        super().__init__()
        self.hidden = seeded_linear(channels, hidden, generator)
        self.output = seeded_linear(hidden, outputs, generator)

    def embed(self, frames: Tensor, padding: Tensor | None = None) -> Tensor:
        """See `Head`."""
        return masked_mean(self.hidden(self.standardized(frames)).relu(), padding)


class Recurrent(Head):
    """The mean over time of a bidirectional GRU's outputs, H each way, then Linear 2 H → K."""

    def __init__(self, channels: int, hidden: int, outputs: int, generator: torch.Generator | None = None):
        super().__init__()
        self.recurrent = seeded_gru(channels, hidden, generator, bidirectional=True)
        self.output = seeded_linear(2 * hidden, outputs, generator)

    def embed(self, frames: Tensor, padding: Tensor | None = None) -> Tensor:
        """See `Head`; padding is at the end."""
        frames = self.standardized(frames)
        if padding is None:
            states = self.recurrent(frames)[0]  # (B, T, 2 H)
        else:
            lengths = (~padding).sum(dim=1).cpu()
            packed = pack_padded_sequence(frames, lengths, batch_first=True, enforce_sorted=False)
            states, _ = pad_packed_sequence(
                self.recurrent(packed)[0], batch_first=True, total_length=frames.shape[1]
            )  # (B, T, 2 H)
        return masked_mean(states, padding)
