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
from emotion2vec.data.augment import Augmenter, draw_entry, drawn
from emotion2vec.data.config import SpeechConfig
from emotion2vec.data.distortions import mix
from emotion2vec.data.order import Position, Request, Stream
from emotion2vec.data.sources import Loaded, Source
from emotion2vec.data.storage import with_retries
from emotion2vec.errors import AudioError, StorageError
from emotion2vec.seeding import keyed_seed


@dataclass(frozen=True)
class Mixture:
    """What an utterance was mixed with.

    Attributes:
        other: id of the other one.
        share: of the utterance itself, in amplitudes and labels.
    """

    other: str
    share: float


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
        clean: (B, S) the same stretches undistorted, normalized or not as `Stream.clean` says; None where nobody asked.
        starts: where each of them begins in its utterance, in samples.
        mixtures: what each was mixed with, None for nothing; empty where nothing ever is.
        sources: numbers of the sources that the B utterances come from, since two may call theirs alike; by default
            all from the first.
    """

    waveforms: torch.Tensor
    ids: list[str]
    position: Position
    skipped: list[Fault] = field(default_factory=list)
    offered: float = 0.0
    durations: list[float] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    lengths: torch.Tensor | None = None
    clean: torch.Tensor | None = None
    starts: list[int] = field(default_factory=list)
    mixtures: list[Mixture | None] = field(default_factory=list)
    sources: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.offered = self.offered or self.seconds
        self.keys = self.keys or self.ids
        self.sources = self.sources or [0] * len(self.ids)

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
        self, sources: Sequence[Source], data: SpeechConfig, stream: Stream, augmenter: Augmenter | None = None
    ) -> None:
        self.sources = sources
        self.data = data
        self.stream = stream
        self.augmenter = augmenter
        self.cache: dict[tuple[int, bytes], Loaded] | None = {} if data.cache else None

    @property
    def _mixes(self) -> bool:
        """Whether utterances are mixed with each other."""
        return self.augmenter is not None and self.augmenter.config.mix_prob > 0

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
        crops: list[_Crop] = []
        skipped: list[Fault] = []
        found = [(number, *one) for number, entries in request.parts for one in self._load(number, entries)]
        owners: list[int] = []
        for (number, name, loaded), draw in zip(found, draw_keys(request, self.stream.accumulate), strict=True):
            try:
                crops.append(self._crop(name, name + draw, loaded, update))
                owners.append(number)
            except AudioError as error:
                skipped.append(Fault(name, str(error)))
        if not crops:
            return MicroBatch(torch.empty(0, 0), [], request.position, skipped)
        stretches = self._kept(crops) if self.stream.pad else self._cropped(crops)
        sizes = [stretch.stop - stretch.start for stretch in stretches]
        step = self.data.length_step
        total = -(-max(sizes) // step) * step if self.stream.pad else sizes[0]
        clean = [crop.clean[stretch] for crop, stretch in zip(crops, stretches, strict=True) if crop.clean is not None]
        return MicroBatch(
            _rows([crop.heard[stretch] for crop, stretch in zip(crops, stretches, strict=True)], total),
            [crop.name for crop in crops],
            request.position,
            skipped,
            offered=sum(crop.length for crop in crops) / SAMPLE_RATE,
            durations=[crop.seconds for crop in crops],
            keys=[crop.key for crop in crops],
            lengths=torch.tensor(sizes) if min(sizes) < total else None,
            clean=_rows(clean, total) if clean else None,
            starts=[stretch.start for stretch in stretches],
            mixtures=[crop.mixture for crop in crops] if self._mixes else [],
            sources=owners,
        )

    def _kept(self, crops: Sequence[_Crop]) -> list[slice]:
        """Of each utterance the stretch that was chosen for it."""
        return [slice(crop.start, crop.start + crop.length) for crop in crops]

    def _cropped(self, crops: Sequence[_Crop]) -> list[slice]:
        """Of each utterance a stretch as long as the shortest of them."""
        # Headers can understate lengths, and slower speech is longer: the budget holds regardless.
        step = self.data.length_step
        length = min(self.data.budget // len(crops), *(crop.length for crop in crops))
        length = max(length - length % step, min(length, step))
        starts = [crop.start + random_start(crop.length, length, crop.rng, self.stream.crop_step) for crop in crops]
        return [slice(start, start + length) for start in starts]

    def _crop(self, name: str, key: str, loaded: np.ndarray | AudioError, update: int) -> _Crop:
        """Prepare an utterance and crop it to the longest length.

        Raises:
            AudioError: it could not be decoded, or a noise that was drawn for it.
        """
        if isinstance(loaded, AudioError):
            raise loaded
        loaded, mixture = self._mixed(key, loaded, update)
        heard = self._heard(key, loaded, update)  # (S,)
        rng = np.random.default_rng(keyed_seed(self.stream.seed, "crop", update, key))
        length = min(heard.size, self.data.max_samples)
        start = random_start(heard.size, length, rng, self.stream.crop_step)
        seconds = loaded.size / SAMPLE_RATE
        return _Crop(name, key, heard, self._clean(loaded, heard), start, length, rng, seconds, mixture)

    def _mixed(self, key: str, loaded: np.ndarray, update: int) -> tuple[np.ndarray, Mixture | None]:
        """The whole utterance (S,), mixed with another one if that is drawn, and with which.

        Raises:
            AudioError: the other one cannot be decoded.
        """
        if self.augmenter is None or not self._mixes:
            return loaded, None
        rng = np.random.default_rng(keyed_seed(self.stream.seed, "mix", update, key))
        share = self.augmenter.share(rng)
        if share is None:
            return loaded, None
        other, samples = drawn(self._load(*draw_entry(self.sources, rng)))
        return mix(loaded, samples, share, rng), Mixture(other, share)

    def _load(self, number: int, entries: np.ndarray) -> list[Loaded]:
        """Ids and samples (S,) of utterances of a source, by its number; kept in memory if asked for."""
        if self.cache is None:
            return self.sources[number].load(entries)
        keys = [(number, entry.tobytes()) for entry in entries]
        missing = [place for place, key in enumerate(keys) if key not in self.cache]
        loaded = dict(zip(missing, self.sources[number].load(entries[missing]) if missing else [], strict=True))
        sound = {keys[place]: item for place, item in loaded.items() if not isinstance(item[1], AudioError)}
        self.cache.update(sound)
        return [loaded[place] if place in loaded else self.cache[key] for place, key in enumerate(keys)]

    def _heard(self, key: str, loaded: np.ndarray, update: int) -> np.ndarray:
        """The whole utterance, augmented and normalized if asked for, (S,)."""
        if self.augmenter is None:
            return normalize(loaded) if self.stream.normalize else loaded
        rng = np.random.default_rng(keyed_seed(self.stream.seed, "augment", update, key))
        return self.augmenter.heard(loaded, rng, normalized=self.stream.normalize)

    def _clean(self, loaded: np.ndarray, heard: np.ndarray) -> np.ndarray | None:
        """The whole utterance undistorted, (S,), normalized if asked for; None where it is not wanted.

        Raises:
            ValueError: it was distorted to another length, so that no stretch of the one is a stretch of the other.
        """
        if self.stream.clean is None:
            return None
        if heard.size != loaded.size:
            raise ValueError(f"distorted from {loaded.size} to {heard.size} samples, expected the same length")
        if self.augmenter is None and self.stream.clean == self.stream.normalize:
            return heard
        return normalize(loaded) if self.stream.clean else loaded


@dataclass
class _Crop:
    """An utterance on its way into a micro-batch: whole, and which stretch of it has been chosen so far.

    Attributes:
        name: its id.
        key: of its randomness.
        heard: (S,) as it is trained on.
        clean: (S,) undistorted, or None.
        start: first sample of the stretch.
        length: samples of the stretch.
        rng: chooses on.
        seconds: how long it was when it was decoded.
        mixture: what it was mixed with, if anything.
    """

    name: str
    key: str
    heard: np.ndarray
    clean: np.ndarray | None
    start: int
    length: int
    rng: np.random.Generator
    seconds: float
    mixture: Mixture | None


def _rows(pieces: Sequence[np.ndarray], total: int) -> torch.Tensor:
    """Waveforms (S,) of at most `total` samples, with zeros behind them, (B, S)."""
    rows = np.zeros((len(pieces), total), np.float32)
    for row, piece in zip(rows, pieces, strict=True):
        row[: piece.size] = piece
    return torch.from_numpy(rows)


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
    start = random_start(waveform.size, length, rng)
    return waveform[start : start + length]


def random_start(samples: int, length: int, rng: np.random.Generator, step: int = 1) -> int:
    """First sample of a stretch of `length` out of so many samples, at a uniformly drawn multiple of `step`."""
    if samples <= length:
        return 0
    return int(rng.integers((samples - length) // step + 1)) * step
