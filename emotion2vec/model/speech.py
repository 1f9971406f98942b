"""What every speech encoder has, ours and those of others: waveform in; frames of every block, features, scores out.

B: utterances. S: samples. T: frames. D: width. N: utterance tokens. L: blocks. K: scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from torch import Tensor, nn

from emotion2vec.audio.decode.memory import as_batch, one_rate
from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.audio.samples import load_audio, normalize
from emotion2vec.audio.windows import Chunking, Window, cut_windows, plan_windows
from emotion2vec.devices import operators_of
from emotion2vec.errors import ConfigError
from emotion2vec.model.config import SYMBOLS, EncoderConfig, FurtherHead
from emotion2vec.model.described import ShownModel
from emotion2vec.model.features import Features
from emotion2vec.model.frozen import frozen
from emotion2vec.model.heads import Head
from emotion2vec.model.hidden import Hidden
from emotion2vec.model.table import check_pandas, clip_table
from emotion2vec.model.text import Told, answered

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

    def read_by(self, head: Head) -> Tensor:
        """The frames that a head reads: (B, T, D), or those of all layers (B, L, T, D)."""
        return torch.stack(self.layers, dim=1) if head.reads_layers else self.frames


@dataclass(frozen=True)
class Part:
    """A part of an encoder that is trained, or not, as a whole.

    Attributes:
        name: `cnn`, `stem` (what lies between the CNN and the blocks), or `block 0`, `block 1`, ...
        modules: what it consists of.
        loose: parameters of it that lie in none of these modules, such as utterance tokens.
    """

    name: str
    modules: list[nn.Module]
    loose: tuple[nn.Parameter, ...] = ()

    def parameters(self) -> Iterator[nn.Parameter]:
        """All of its parameters."""
        for module in self.modules:
            yield from module.parameters()
        yield from self.loose

    def requires_grad_(self, wanted: bool) -> None:
        """Let its parameters be trained, or not."""
        for parameter in self.parameters():
            parameter.requires_grad_(wanted)

    def train(self, mode: bool = True) -> None:
        """Set the mode of its modules."""
        for module in self.modules:
            module.train(mode)


class SpeechEncoder(ShownModel, nn.Module):
    """A network from waveforms to frames, with or without a head; `Emotion2vec` is one.

    Attributes:
        config: its dimensions.
        head: from its frames to scores, or None.
        further: heads beside it, each with a `target` of its own; none where there is no main one.
        heard: record of the utterances that trained it (`emotion2vec.checkpoint.heard`), where there is one.
    """

    config: EncoderConfig
    head: Head | None
    further: nn.ModuleList
    heard: Any

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are, and what is computed in outside of autocast: inputs are cast to it."""
        return next(self.parameters()).dtype

    def forward(self, waveforms: Tensor, padding: Tensor | None = None, hidden: Hidden | None = None) -> Encoded:
        """Encode waveforms.

        Args:
            waveforms: (B, S) float at 16 kHz, each normalized over its own samples (`audio.samples.normalize`) where
                the network's configuration says so, else as recorded.
            padding: (B, S), True = padding after the end of an utterance; None when all have S samples.
            hidden: frames that the blocks do not see; None for none.
        """
        raise NotImplementedError

    @property
    def blocks(self) -> list[nn.Module]:
        """Its L blocks from bottom to top; `Encoded.layers` are their outputs."""
        raise NotImplementedError

    def parts(self) -> list[Part]:
        """All of it but the head, from bottom to top: `cnn`, `stem`, and a part for each block.

        What follows the last block, such as a final norm, is of its part. Every parameter is of one part.
        """
        raise NotImplementedError

    def make_room(self, weights: Mapping[str, Tensor]) -> None:
        """Make room for what not every such network has, and weights hold: what is optional in a head."""
        for place, head in [("head", self.head), *((f"further.{n}", head) for n, head in enumerate(self.further))]:
            for name in head.optional if isinstance(head, Head) else ():
                if (saved := weights.get(f"{place}.{name}")) is not None:
                    setattr(head, name, torch.empty_like(saved, device=self.device))

    def heads(self, *, symbols: bool = False) -> dict[str, Head]:
        """Heads by their targets, the main one first, none where there is none; those of frames if asked for."""
        found = {head.target: head for head in [self.head, *self.further] if isinstance(head, Head)}
        return {name: head for name, head in found.items() if symbols or head.config.task != SYMBOLS}

    def further_heads(self) -> tuple[FurtherHead, ...]:
        """What a model folder says of the heads beside the main one."""
        return tuple(FurtherHead(h.target, h.labels, h.config) for h in self.heads(symbols=True).values() if h.target)

    def scores(self, encoded: Encoded, told: Told | None = None) -> Tensor:
        """Scores (B, K) of encoded utterances, and what is told in them, by the main head, with gradients.

        Raises:
            ConfigError: there is no head.
        """
        head = self._head()
        return answered(head, encoded.read_by(head), encoded.padding, told)

    def all_scores(self, encoded: Encoded, told: Told | None = None) -> dict[str, Tensor]:
        """The same by each of the `heads`."""
        return {name: answered(h, encoded.read_by(h), encoded.padding, told) for name, h in self.heads().items()}

    def _head(self) -> Head:
        if self.head is None:
            raise ConfigError("this model has no head, expected a fine-tuned one for predict")
        return self.head

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
            waveform = normalize(waveform, self.config.normalize_eps)
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
        with operators_of(self.dtype, self.device):
            encoded = self(torch.from_numpy(waveform).to(self.device).unsqueeze(0))
        kept = slice(window.skip, window.skip + window.keep)
        chosen = encoded.layers if layers else [encoded.frames]
        return np.stack([layer[0, kept].float().cpu().numpy() for layer in chosen])

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
        head = frozen(self._head())
        rate, batch = one_rate(sample_rate, sampling_rate), as_batch(source)
        clips = self.extract_features([source] if batch is None else batch, rate, layers=head.reads_layers)
        with torch.inference_mode():
            heard = [one.layers if head.reads_layers else one.frames for one in clips]  # ([L,] T, D) each
            rows = [torch.as_tensor(array)[None].to(self.device, self.dtype) for array in heard]
            by_label = head.by_label(torch.cat([head(row) for row in rows]))
        return by_label if batch is not None else by_label[0]

    def predict_frame(self, source: Any, sample_rate: int | None = None, *, sampling_rate: int | None = None) -> Any:
        """What `predict` says, as a pandas data frame, see `clip_table`; `emotion2vec.predict` takes tables too."""
        check_pandas()
        rate, clips = one_rate(sample_rate, sampling_rate), as_batch(source) or [source]
        heard = [load_audio(clip, rate) for clip in clips]
        seconds = [samples.size / SAMPLE_RATE for samples in heard]
        return clip_table(clips, seconds, self.predict(heard, SAMPLE_RATE), self._head().config.task == "values")
