"""The log-mel front end: waveform to mel bands to frames, as Whisper's encoder has it (Radford et al. 2022).

B: utterances. S: samples. T: mel frames (10 ms). M: mel bands. F: frequency bins. C: channels. D: model width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emotion2vec.audio.frames import MEL_HOP, MEL_WINDOW, SAMPLE_RATE

FLOOR = 1e-10
"""Smallest power of a band before the logarithm."""
RANGE = 8.0
"""Powers of ten below an utterance's loudest band that are told apart."""


class LogMel(nn.Module):
    """Logarithms of mel bands of each utterance, clipped and scaled to about −1 … 1.5; no parameters.

    Every utterance is mirrored at its own ends, and clipped relative to its own loudest band, so that what else is in
    a batch does not matter. Always float32.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, bands: int):
        super().__init__()
        self.bands = bands
        window, filters = self.constants()
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    def constants(self) -> tuple[Tensor, Tensor]:
        """The window (400,) and the filters (M, F), which no checkpoint holds."""
        window = torch.hann_window(MEL_WINDOW, dtype=torch.float64, device="cpu").float()
        return window, torch.from_numpy(slaney_filters(self.bands)).float()

    def _apply(self, fn: Any, recurse: bool = True) -> LogMel:
        """Go where the network goes, but stay float32 where that is cast."""
        super()._apply(fn, recurse)
        if self.window.dtype != torch.float32:
            self.window, self.filters = (x.to(self.window.device) for x in self.constants())
        return self

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Compute (B, T, M), T = S // 160.

        Args:
            waveforms: (B, S) samples at 16 kHz as recorded, of at least 201 samples.
            lengths: (B,) samples of each utterance, where they differ; frames after its last are then 0.
        """
        with torch.autocast(waveforms.device.type, enabled=False):
            padded = _mirrored(waveforms.float(), lengths)  # (B, S + 400)
            frames = padded.unfold(1, MEL_WINDOW, MEL_HOP)[:, : waveforms.shape[1] // MEL_HOP]  # (B, T, 400)
            frames = frames * self.window
            if torch.compiler.is_compiling():  # other runtimes' transforms keep fewer digits than ours
                frames = frames.double()
            spectrum = torch.fft.rfft(frames)  # (B, T, F)
            power = (spectrum.real.square() + spectrum.imag.square()).float()
            bands = (power @ self.filters.t()).clamp(min=FLOOR).log10()  # (B, T, M)
            if lengths is None:
                loudest = bands.amax(dim=(1, 2), keepdim=True)
                return (torch.maximum(bands, loudest - RANGE) + 4.0) / 4.0
            hidden = hidden_frames(lengths // MEL_HOP, bands.shape[1])  # (B, T, 1)
            loudest = bands.masked_fill(hidden, float("-inf")).amax(dim=(1, 2), keepdim=True)
            return ((torch.maximum(bands, loudest - RANGE) + 4.0) / 4.0).masked_fill(hidden, 0.0)


class MelFrontend(nn.Module):
    """Log-mel bands and convolutions with GELU: (B, S) samples as recorded to (B, T, D) frames.

    Args:
        mels: bands M.
        channels: of all convolutions but the last.
        width: of the last, D.
        kernels: odd; around the edges there are zeros.
        strides: of the convolutions, in steps of their inputs.
    """

    def __init__(self, mels: int, channels: int, width: int, kernels: Sequence[int], strides: Sequence[int]):
        super().__init__()
        self.mel = LogMel(mels)
        sizes = [mels, *[channels] * (len(kernels) - 1), width]
        self.layers = nn.ModuleList(
            nn.Conv1d(inputs, outputs, kernel, stride, padding=kernel // 2)
            for inputs, outputs, kernel, stride in zip(sizes, sizes[1:], kernels, strides, strict=False)
        )

    def cnn(self, waveforms: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Run mel bands and convolutions: (B, S) samples, of so many (B,) each, to (B, T, D)."""
        first: Any = self.layers[0]
        x = self.mel(waveforms, lengths).transpose(1, 2).to(first.weight.dtype)  # (B, M, T)
        steps = None if lengths is None else lengths // MEL_HOP
        for conv in self.layers:
            assert isinstance(conv, nn.Conv1d)
            x = F.gelu(conv(x))  # (B, C, T')
            if steps is not None:  # what comes after an utterance is zeros for the next one too
                steps = (steps - 1) // conv.stride[0] + 1
                x = x.masked_fill(hidden_frames(steps, x.shape[2]).transpose(1, 2), 0.0)
        return x.transpose(1, 2)  # (B, T, D)

    def project(self, features: Tensor) -> Tensor:
        """Frames (B, T, D) as they are: the last convolution has the model's width."""
        return features

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Encode (B, S) samples, of so many (B,) each, to (B, T, D)."""
        return self.cnn(waveforms, lengths)


def hidden_frames(counts: Tensor, total: int) -> Tensor:
    """(B, total, 1), True after the first so many (B,) frames."""
    return (torch.arange(total, device=counts.device).unsqueeze(0) >= counts.unsqueeze(1)).unsqueeze(2)


def slaney_filters(bands: int, top: float = SAMPLE_RATE / 2) -> np.ndarray:
    """Triangles of equal area from 0 Hz to `top`, on Slaney's mel scale (Auditory Toolbox, 1998).

    The scale is linear up to 1,000 Hz, 200/3 Hz per mel, and logarithmic above, 27 mel for a factor of 6.4.

    Returns:
        (M, F) float64 weights on power spectra of `MEL_WINDOW` samples.
    """
    linear, step, corner = 200.0 / 3, np.log(6.4) / 27, 1000.0
    highest = corner / linear + np.log(top / corner) / step
    mels = np.linspace(0, highest, bands + 2)
    bent = corner * np.exp(step * (mels - corner / linear))
    edges = np.where(mels * linear < corner, mels * linear, bent)  # (M + 2,) in Hz
    low, center, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]  # (M, 1)
    frequencies = np.fft.rfftfreq(MEL_WINDOW, 1 / SAMPLE_RATE)  # (F,)
    rising, falling = (frequencies - low) / (center - low), (high - frequencies) / (high - center)
    return np.maximum(0, np.minimum(rising, falling)) * 2.0 / (high - low)


def _mirrored(waveforms: Tensor, lengths: Tensor | None) -> Tensor:
    """Continue each utterance of (B, S) by its mirror image, half a window on both sides: (B, S + 400)."""
    half = MEL_WINDOW // 2
    if lengths is None:
        return F.pad(waveforms.unsqueeze(1), (half, half), mode="reflect").squeeze(1)
    places = torch.arange(-half, waveforms.shape[1] + half, device=waveforms.device)  # (S + 400,)
    last = lengths.unsqueeze(1) - 1  # (B, 1)
    mirrored = last - (last - places.abs().unsqueeze(0)).abs()  # (B, S + 400)
    return waveforms.gather(1, mirrored.clamp(min=0))
