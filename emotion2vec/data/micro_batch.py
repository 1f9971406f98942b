"""From a planned micro-batch to samples: read, augment, normalize, crop. Runs in the workers.

B: utterances in a micro-batch. S: samples at 16 kHz.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch.utils.data import Dataset

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.audio.samples import normalize
from emotion2vec.corpora.faults import Fault
from emotion2vec.data.augment import Augmenter
from emotion2vec.data.config import DataConfig
from emotion2vec.data.order import Position, Request, Stream
from emotion2vec.data.sources import Loaded, Source
from emotion2vec.data.storage import with_retries
from emotion2vec.errors import AudioError, StorageError
from emotion2vec.seeding import keyed_seed

Crop = tuple[str, np.ndarray, np.random.Generator]
"""Id of an utterance, what is left of it (S,), and what draws the rest."""


@dataclass
class MicroBatch:
    """What one forward pass sees.

    Attributes:
        waveforms: (B, S) float32, each utterance normalized as a whole, if at all, before it was cropped.
        ids: ids of the B utterances.
        position: where to resume once this micro-batch is consumed.
        skipped: utterances that should have been here but could not be decoded or are not finite, and those of
            micro-batches before it of which nothing was left.
        offered: seconds of the B utterances before they were cropped to the shortest of them; by default what is left.
        durations: seconds of each utterance as it was decoded, whole.
        lengths: (B,) samples of each utterance, zeros follow; None where all have S.
        keys: what masks are keyed by beside seed and update: an utterance's id and which of its draws this is, so that
            one that an update holds twice is cropped and masked in two ways.
    """

    waveforms: torch.Tensor
    ids: list[str]
    position: Position
    skipped: list[Fault] = field(default_factory=list)
    offered: float = 0.0
    durations: list[float] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    lengths: torch.Tensor | None = None

    def __post_init__(self) -> None:
        self.offered = self.offered or self.seconds
        self.keys = self.keys or self.ids

    @property
    def seconds(self) -> float:
        """Audio in the micro-batch, in s."""
        samples = self.waveforms.numel() if self.lengths is None else int(self.lengths.sum())
        return samples / SAMPLE_RATE

    @property
    def padding(self) -> torch.Tensor | None:
        """(B, S), True = padding; None where nothing is padded."""
        if self.lengths is None:
            return None
        return torch.arange(self.waveforms.shape[1]).unsqueeze(0) >= self.lengths.unsqueeze(1)


class BatchDecoder(Dataset["MicroBatch | StorageError"]):
    """Turns requests into micro-batches; crops and augmentation are keyed by seed, update and utterance."""

    def __init__(
        self, sources: Sequence[Source], data: DataConfig, stream: Stream, augmenter: Augmenter | None = None
    ) -> None:
        self.sources = sources
        self.data = data
        self.stream = stream
        self.augmenter = augmenter
        self.cache: dict[tuple[int, bytes], Loaded] | None = {} if data.cache else None

    def __getitem__(self, request: Request) -> MicroBatch | StorageError:
        """Make a micro-batch; what cannot be decoded is named in `skipped`.

        The error for storage that is out of reach is returned, not raised, since a worker would wrap it.
        """
        try:
            return with_retries(partial(self._decode, request))
        except StorageError as error:
            return error

    def _decode(self, request: Request) -> MicroBatch:
        update = request.index // self.stream.accumulate
        crops: list[Crop] = []
        durations: list[float] = []
        keys: list[str] = []
        skipped: list[Fault] = []
        for (name, loaded), draw in zip(self._load(request), draw_keys(request, self.stream.accumulate), strict=True):
            key = name + draw
            try:
                waveform = self._heard(key, loaded, update)  # (S,)
            except AudioError as error:
                skipped.append(Fault(name, str(error)))
                continue
            rng = np.random.default_rng(keyed_seed(self.stream.seed, "crop", update, key))
            crops.append((name, random_crop(waveform, self.data.max_samples, rng), rng))
            durations.append(np.asarray(loaded).size / SAMPLE_RATE)
            keys.append(key)
        if not crops:
            return MicroBatch(torch.empty(0, 0), [], request.position, skipped)
        ids, offered = [name for name, _, _ in crops], sum(crop.size for _, crop, _ in crops) / SAMPLE_RATE
        waveforms, lengths = self._padded(crops) if self.stream.pad else (self._cropped(crops), None)  # (B, S)
        return MicroBatch(waveforms, ids, request.position, skipped, offered, durations, keys, lengths)

    def _cropped(self, crops: Sequence[Crop]) -> torch.Tensor:
        """Utterances cropped to the shortest of them, (B, S)."""
        # Headers can understate lengths, and slower speech is longer: the budget holds regardless.
        step = self.data.length_step
        length = min(self.data.budget // len(crops), *(crop.size for _, crop, _ in crops))
        length = max(length - length % step, min(length, step))
        return torch.from_numpy(np.stack([random_crop(crop, length, rng) for _, crop, rng in crops]))

    def _padded(self, crops: Sequence[Crop]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Utterances with zeros behind them, (B, S), and their samples (B,); None where all have the same."""
        step, sizes = self.data.length_step, [crop.size for _, crop, _ in crops]
        length = -(-max(sizes) // step) * step
        rows = np.zeros((len(crops), length), np.float32)
        for row, (_, crop, _) in zip(rows, crops, strict=True):
            row[: crop.size] = crop
        return torch.from_numpy(rows), torch.tensor(sizes) if min(sizes) < length else None

    def _load(self, request: Request) -> list[Loaded]:
        """Ids and samples (S,) of a request's utterances; kept in memory if asked for."""
        if self.cache is None:
            return [loaded for number, entries in request.parts for loaded in self.sources[number].load(entries)]
        found: list[Loaded] = []
        for number, entries in request.parts:
            keys = [(number, entry.tobytes()) for entry in entries]
            missing = [place for place, key in enumerate(keys) if key not in self.cache]
            loaded = dict(zip(missing, self.sources[number].load(entries[missing]) if missing else [], strict=True))
            sound = {keys[place]: item for place, item in loaded.items() if not isinstance(item[1], AudioError)}
            self.cache.update(sound)
            found += [loaded[place] if place in loaded else self.cache[key] for place, key in enumerate(keys)]
        return found

    def _heard(self, key: str, loaded: np.ndarray | AudioError, update: int) -> np.ndarray:
        """The whole utterance, augmented and normalized if asked for, (S,)."""
        if isinstance(loaded, AudioError):
            raise loaded
        if self.augmenter is None:
            return normalize(loaded) if self.stream.normalize else loaded
        rng = np.random.default_rng(keyed_seed(self.stream.seed, "augment", update, key))
        return self.augmenter.heard(loaded, rng, normalized=self.stream.normalize)


def draw_keys(request: Request, accumulate: int) -> list[str]:
    """What is added to the ids of a request's utterances, so that one that an update draws again is told apart.

    A window may hold several passes of a source, and an update may reach over the end of a window or epoch; what an
    update draws first keeps its id alone.

    Args:
        request: the micro-batch.
        accumulate: micro-batches of an update.
    """
    place = request.position
    opened, begins = place.index - place.batch, request.index // accumulate * accumulate  # of the window, of the update
    window = f"@{place.epoch}.{place.window}" if opened > begins else ""
    count = sum(len(entries) for _, entries in request.parts)
    draws = np.zeros(count, np.int64) if request.draws is None else np.concatenate(request.draws)
    return [window + (f"+{draw}" if draw else "") for draw in draws.tolist()]


def random_crop(waveform: np.ndarray, length: int, rng: np.random.Generator) -> np.ndarray:
    """Stretch of `length` samples (S,) at a uniformly drawn place; all of a waveform that is no longer than that."""
    if waveform.size <= length:
        return waveform
    first = int(rng.integers(waveform.size - length + 1))
    return waveform[first : first + length]
