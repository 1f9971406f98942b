"""emotion2vec as users hold it: waveform in, features out.

B: utterances. S: samples. T: frames. D: model width. N: utterance tokens. L: layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from torch import Tensor, nn

from emotion2vec.audio.decode.memory import as_batch, one_rate
from emotion2vec.audio.samples import load_audio, normalize
from emotion2vec.audio.windows import Chunking, Window, cut_windows, plan_windows
from emotion2vec.errors import ConfigError
from emotion2vec.model.backbone import Backbone
from emotion2vec.model.config import Emotion2vecConfig
from emotion2vec.model.features import Features
from emotion2vec.model.frontend import Frontend
from emotion2vec.model.frozen import frozen
from emotion2vec.model.heads import MeanLinear
from emotion2vec.model.logmel import MelFrontend

if TYPE_CHECKING:
    from emotion2vec.audio.samples import AudioSource


@dataclass
class Encoded:
    """A batch of encoded utterances.

    Attributes:
        embedded: (B, T, D) what enters the first block.
        frames: (B, T, D) output of the last block at the frames.
        tokens: (B, N, D) output of the last block at the utterance tokens.
        layers: outputs (B, T, D) of all blocks at the frames, prenet first.
        ffn: FFN outputs (B, T, D) of the main blocks at the frames, before the final residual and norm.
        padding: (B, T), True = padding, or None when nothing is padded.
    """

    embedded: Tensor
    frames: Tensor
    tokens: Tensor
    layers: list[Tensor]
    ffn: list[Tensor]
    padding: Tensor | None


class Emotion2vec(nn.Module):
    """The network without what only pretraining needs: front end and backbone (Ma et al., ACL 2024).

    Args:
        config: its dimensions.
        labels: what its head tells apart, in the head's order; without labels there is no head.
    """

    def __init__(self, config: Emotion2vecConfig, labels: Sequence[str] = ()):
        super().__init__()
        self.config = config
        self.heard: Any = None
        """Record of the utterances that trained it (`emotion2vec.checkpoint.heard`), where there is one."""
        self.frontend = _frontend(config)
        self.backbone = Backbone(config)
        self.head = MeanLinear(config.width, len(labels), labels=labels) if labels else None
        self.apply(_init_linear)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def forward(self, waveforms: Tensor, padding: Tensor | None = None) -> Encoded:
        """Encode normalized waveforms.

        Args:
            waveforms: (B, S) float at 16 kHz, each normalized over its own samples (`audio.samples.normalize`) where
                the network's configuration says so, else as recorded.
            padding: (B, S), True = padding after the end of an utterance; None when all have S samples.
        """
        lengths = None if padding is None else (~padding).sum(dim=1)  # (B,)
        frame_padding = None if padding is None else self.frame_padding(padding)
        out = self.backbone(self.frontend(waveforms, lengths), padding=frame_padding)
        count = self.config.tokens
        return Encoded(
            embedded=out.embedded[:, count:],
            frames=out.x[:, count:],
            tokens=out.x[:, :count],
            layers=[layer[:, count:] for layer in out.layers],
            ffn=[ffn[:, count:] for ffn in out.ffn],
            padding=frame_padding,
        )

    def frame_padding(self, padding: Tensor) -> Tensor:
        """Turn a padding mask over samples (B, S) into one over frames (B, T) by the convolutions' arithmetic."""
        counts = self.frame_counts((~padding).sum(dim=1))  # (B,)
        total = self.config.grid.count(padding.shape[1])
        return torch.arange(total, device=padding.device).unsqueeze(0) >= counts.unsqueeze(1)  # (B, T)

    def frame_counts(self, lengths: Tensor) -> Tensor:
        """Frames (B,) that the front end makes of utterances of so many samples (B,)."""
        return self.config.grid.count(lengths)

    @overload
    def extract_features(
        self,
        source: list[Any] | tuple[Any, ...],
        sample_rate: int | None = ...,
        *,
        sampling_rate: int | None = ...,
        layers: bool = ...,
    ) -> list[Features]: ...

    @overload
    def extract_features(
        self,
        source: AudioSource,
        sample_rate: int | None = ...,
        *,
        sampling_rate: int | None = ...,
        layers: bool = ...,
    ) -> Features: ...

    def extract_features(
        self,
        source: AudioSource | list[Any] | tuple[Any, ...],
        sample_rate: int | None = None,
        *,
        sampling_rate: int | None = None,
        layers: bool = False,
    ) -> Features | list[Features]:
        """Extract the features of one clip, or of each clip of a list, in eval mode whatever the model's own is.

        Audio longer than 40 s, or than the network knows, is encoded in windows, the same as those of
        `emotion2vec.extract_features`.

        Args:
            source: a path, encoded bytes, an open file, samples (S,) or (C, S) of at most 8 channels with their
                `sample_rate`, or a dictionary as Hugging Face's `datasets` has it; or a list or tuple of those.
            sample_rate: rate of samples in memory, in Hz.
            sampling_rate: another name of it.
            layers: keep the outputs of all blocks.

        Raises:
            AudioError: the audio cannot be decoded or used.
        """
        rate, batch = one_rate(sample_rate, sampling_rate), as_batch(source)
        eager = frozen(self)
        if batch is not None:
            return [eager._features(clip, rate, layers) for clip in batch]
        return eager._features(source, rate, layers)  # type: ignore[arg-type]

    def _features(self, source: AudioSource, rate: int | None, layers: bool) -> Features:
        """Features of one clip, in the mode that the model is in; of long audio window by window."""
        waveform = load_audio(source, rate)
        if self.config.normalizes:
            waveform = normalize(waveform)
        windows = plan_windows(waveform.size, Chunking().within(self.config.max_seconds), self.config.grid)
        pieces = [
            self._window(samples, window, layers)
            for window, samples in zip(windows, cut_windows([waveform], windows), strict=True)
        ]
        array = pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=1)  # (1 or L, T, D)
        return Features(frames=array[-1], layers=array if layers else None)

    @torch.inference_mode()
    def _window(self, waveform: np.ndarray, window: Window, layers: bool) -> np.ndarray:
        """Encode a window (S,) of a clip, and keep the frames that it gives: (1, T, D), or of all layers (L, T, D)."""
        encoded = self(torch.from_numpy(waveform).to(self.device).unsqueeze(0))
        kept = slice(window.skip, window.skip + window.keep)
        return np.stack([_to_numpy(layer[0, kept]) for layer in (encoded.layers if layers else [encoded.frames])])

    @overload
    def predict(
        self, source: list[Any] | tuple[Any, ...], sample_rate: int | None = ..., *, sampling_rate: int | None = ...
    ) -> list[dict[str, float]]: ...

    @overload
    def predict(
        self, source: AudioSource, sample_rate: int | None = ..., *, sampling_rate: int | None = ...
    ) -> dict[str, float]: ...

    def predict(
        self,
        source: AudioSource | list[Any] | tuple[Any, ...],
        sample_rate: int | None = None,
        *,
        sampling_rate: int | None = None,
    ) -> dict[str, float] | list[dict[str, float]]:
        """Classify one clip, or each clip of a list.

        Args:
            source: as for `extract_features`.
            sample_rate: rate of samples in memory, in Hz.
            sampling_rate: another name of it.

        Returns:
            The probability of every label that the head uses; for a list a list of them.

        Raises:
            AudioError: the audio cannot be decoded or used.
            ConfigError: the model has no head.
        """
        if self.head is None:
            raise ConfigError("this model has no head, expected a fine-tuned one for predict")
        rate, batch = one_rate(sample_rate, sampling_rate), as_batch(source)
        features = self.extract_features([source] if batch is None else batch, rate)
        with torch.inference_mode():
            pooled = torch.stack([torch.from_numpy(one.utterance) for one in features]).to(self.device)  # (B, D)
            scores = self.head.by_label(self.head.of_pooled(pooled))
        return scores if batch is not None else scores[0]


def _frontend(config: Emotion2vecConfig) -> Frontend | MelFrontend:
    if config.frontend == "logmel":
        return MelFrontend(config.mels, config.channels, config.width, config.kernels, config.strides)
    return Frontend(config.channels, config.width, config.kernels, config.strides)


def _to_numpy(x: Tensor) -> np.ndarray:
    return x.float().cpu().numpy()


def _init_linear(module: nn.Module) -> None:
    """Initialize Linear layers like data2vec 2.0: N(0, 0.02), biases zero; the projection keeps PyTorch's default."""
    if isinstance(module, Frontend):
        module.projection.reset_parameters()
    elif isinstance(module, nn.Linear | MeanLinear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
