"""Clips in batches of like length through a network in eval mode, whole.

N: clips. B: clips of a batch. S: samples. T: frames. D: channels. K: scores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.finetune.network import TunedNetwork
from emotion2vec.finetune.texts import TellRows
from emotion2vec.training.objective import on_device

BATCH_SECONDS = 40.0
"""Audio of a batch, padding included, in s; a longer clip is a batch of its own."""


@torch.no_grad()
def score_waveforms(
    scores_of: Callable[..., Mapping[str, Tensor]],
    waveforms: Sequence[np.ndarray],
    device: torch.device,
    told: TellRows | None = None,
) -> dict[str, np.ndarray]:
    """Scores (N, K) of whole clips by heads in eval mode.

    Args:
        scores_of: gives each head's (B, K) of waveforms (B, S), their padding (B, S), and what is said if that is told.
        waveforms: (S,) each.
        device: where the network is.
        told: what is said in clips by their numbers; None for no texts.
    """
    found: dict[int, dict[str, Tensor]] = {}
    for numbers in by_length([waveform.size for waveform in waveforms]):
        batch, padding = padded([waveforms[number] for number in numbers])
        on = None if padding is None else padding.to(device)
        found |= _rows(numbers, scores_of(batch.to(device), on, *_said(told, numbers, device)))
    return _stacked(found)


def _said(told: TellRows | None, numbers: Sequence[int], device: torch.device) -> list[Any]:
    """What is said in clips, on a device; nothing where that is not told."""
    return on_device([told(numbers)], device) if told is not None else []


def _rows(numbers: Sequence[int], scored: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """Scores of a batch (B, K) by the numbers of its clips, (K,) each, on the host."""
    there = {name: scores.float().cpu() for name, scores in scored.items()}
    return {number: {name: rows[place] for name, rows in there.items()} for place, number in enumerate(numbers)}


def _stacked(found: Mapping[int, Mapping[str, Tensor]]) -> dict[str, np.ndarray]:
    """Scores (N, K) of each head, in the order of the clips' numbers; zeros behind rows that are shorter, of frames."""
    rows = {name: [found[number][name] for number in range(len(found))] for name in found[0]}
    return {name: pad_sequence(some, batch_first=True).numpy() for name, some in rows.items()}


def padded(waveforms: Sequence[np.ndarray]) -> tuple[Tensor, Tensor | None]:
    """Waveforms with zeros behind them (B, S), and what is padding (B, S); None where nothing is."""
    sizes = torch.tensor([waveform.size for waveform in waveforms])
    rows = torch.zeros(len(waveforms), int(sizes.max()))
    for row, waveform in zip(rows, waveforms, strict=True):
        row[: waveform.size] = torch.from_numpy(waveform)
    padding = torch.arange(rows.shape[1]).unsqueeze(0) >= sizes.unsqueeze(1)
    return rows, padding if bool(padding.any()) else None


def by_length(sizes: Sequence[int]) -> list[list[int]]:
    """Numbers of clips of like length, longest first."""
    batches: list[list[int]] = []
    for number in np.argsort([-size for size in sizes], kind="stable").tolist():
        if not batches or sizes[batches[-1][0]] * (len(batches[-1]) + 1) > BATCH_SECONDS * SAMPLE_RATE:
            batches.append([])
        batches[-1].append(number)
    return batches


def together(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Sequences (T, D) as one (B, T, D) float32, and what of it is padding (B, T); None where nothing is."""
    sizes = torch.tensor([len(row) for row in rows])
    whole = pad_sequence(list(rows), batch_first=True).float()
    padding = torch.arange(whole.shape[1]).unsqueeze(0) >= sizes.unsqueeze(1)
    return whole, padding if bool(padding.any()) else None


@torch.no_grad()
def keep(network: TunedNetwork, waveforms: Sequence[np.ndarray], device: torch.device) -> list[Tensor]:
    """Sequences (T, D) fp16 of waveforms, on the host, see `TunedNetwork.below`."""
    found: dict[int, Tensor] = {}
    for numbers in by_length([waveform.size for waveform in waveforms]):
        batch, padding = padded([waveforms[number] for number in numbers])
        on = None if padding is None else padding.to(device)
        x = network.below(batch.to(device), on).half().cpu()  # (B, T, D)
        counts = [int(network.encoder.config.grid.count(waveforms[number].size)) for number in numbers]
        found |= {number: row[:count].clone() for number, row, count in zip(numbers, x, counts, strict=True)}
    return [found[number] for number in range(len(waveforms))]


@torch.no_grad()
def score_kept(
    network: TunedNetwork, rows: Sequence[Tensor], device: torch.device, told: TellRows | None = None
) -> dict[str, np.ndarray]:
    """Scores (N, K) by each head of what `keep` gave, and of what is said if that is told."""
    found: dict[int, dict[str, Tensor]] = {}
    stride = network.encoder.config.grid.stride
    for numbers in by_length([len(row) * stride for row in rows]):
        x, padding = together([rows[number] for number in numbers])
        on = None if padding is None else padding.to(device)
        found |= _rows(numbers, network.above(x.to(device), on, *_said(told, numbers, device)))
    return _stacked(found)
