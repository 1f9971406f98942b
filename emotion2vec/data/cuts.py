"""The corpus to pretrain on: a Lhotse CutSet whose durations come from the files' headers.

S: samples. Lhotse keeps the metadata; audio is decoded by `emotion2vec.audio.samples` alone, so that training and
extraction hear the same samples and neither torchaudio nor Lhotse's backends are needed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from emotion2vec.audio.decode import Note
from emotion2vec.audio.decode.channels import no_channel
from emotion2vec.audio.decode.reading import DURATION_TOLERANCE, Header, read_header
from emotion2vec.audio.frames import MIN_SAMPLES, SAMPLE_RATE
from emotion2vec.corpora.faults import Change, Fault
from emotion2vec.corpora.lists.columns import Names
from emotion2vec.corpora.lists.manifests import read_manifest
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.errors import AudioError, ManifestError

if TYPE_CHECKING:
    from lhotse import CutSet
    from lhotse.cut import Cut


class LoadedCuts(NamedTuple):
    """What there is to pretrain on, and what was left out."""

    cuts: CutSet
    """Usable utterances with their durations in s; ids are unique over all sources."""

    faults: list[Fault]
    """Entries that cannot be used: missing, unreadable, empty, or with a segment outside the audio."""

    too_short: list[Fault]
    """Sound entries that are shorter than the minimum; they do not count as bad."""

    missing: int
    """Faults of entries that a list names and that are not there, or cannot be read."""

    changes: list[Change]
    """Entries that are used otherwise than they were listed."""


def load_cuts(
    sources: Sequence[str | Path],
    *,
    min_samples: int,
    max_bad_share: float,
    workers: int,
    names: Names | None = None,
) -> LoadedCuts:
    """Read manifests, open the header of every file, and keep what can be trained on.

    Samples that are not finite, and damage behind the header, show only in decoding: see `emotion2vec.data.batches`.

    Args:
        sources: manifests of any kind that `read_manifest` accepts.
        min_samples: shortest utterance to keep, in samples at 16 kHz; never below the 400 that make a frame.
        max_bad_share: largest share of entries, 0 to 1, that may be unusable.
        workers: threads that open headers; 0 opens them one by one.
        names: what tables call their columns.

    Raises:
        ManifestError: a source cannot be read, more than `max_bad_share` of the entries are bad, or none is left.
    """
    from lhotse import CutSet

    utterances, missing, changes = _read_all(sources, names)
    found = cuts_of(utterances, min_samples=min_samples, workers=workers)
    faults, entries = [*missing, *found.faults], len(utterances) + len(missing)
    if len(faults) > max_bad_share * entries:
        raise ManifestError(
            f"{len(faults)} of {entries} entries ({len(faults) / entries:.1%}) cannot be used, expected at most "
            f"{max_bad_share:.1%}: {_first(faults)}"
        )
    if not found.cuts:
        raise ManifestError(f"none of {entries} entries can be used: {_first([*faults, *found.too_short])}")
    return LoadedCuts(CutSet.from_cuts(found.cuts), faults, found.too_short, len(missing), changes)


class Cuts(NamedTuple):
    """Utterances as cuts, and those that cannot be used."""

    cuts: list[Cut]
    """With their durations in s, in the order of the utterances."""

    faults: list[Fault]
    """Utterances that are missing, unreadable, empty, or have a segment outside the audio."""

    too_short: list[Fault]
    """Sound ones that are shorter than the minimum."""


def cuts_of(utterances: Sequence[Utterance], *, min_samples: int, workers: int) -> Cuts:
    """Open the header of every utterance's file, and keep what can be trained on; arguments as for `load_cuts`."""
    headers = _read_headers({utterance.path for utterance in utterances}, workers)
    found = Cuts([], [], [])
    for utterance in utterances:
        try:
            cut = make_cut(utterance, headers[utterance.path])
        except AudioError as error:
            found.faults.append(Fault(utterance.where, str(error)))
            continue
        samples, least = round(cut.duration * SAMPLE_RATE), max(min_samples, MIN_SAMPLES)
        if samples < least:
            reason = f"too short, {samples} samples at {SAMPLE_RATE} Hz, expected at least {least}"
            found.too_short.append(Fault(utterance.where, reason))
        else:
            found.cuts.append(cut)
    return found


def place_of(cut: Cut) -> str:
    """Name of a cut for messages, as `Utterance.where`."""
    source = str(cut.recording.sources[0].source)
    whole = cut.start == 0 and cut.duration == cut.recording.duration
    return source if whole else f"{source} from {cut.start:g} s"


def load_cut(cut: Cut, *, accept_damaged: bool = False, notes: list[Note] | None = None) -> np.ndarray:
    """Decode what a cut made by `load_cuts` names, as `Utterance.load` does.

    Args:
        cut: names one file, and a stretch or a channel of it.
        accept_damaged: take what can be decoded of a damaged file.
        notes: gets what is to be said of the audio.

    Returns:
        (S,) float32 mono at 16,000 Hz, not normalized.

    Raises:
        AudioError: it cannot be decoded, is not finite, or holds less audio than its header states.
    """
    recording = cut.recording
    whole = cut.start == 0 and cut.duration == recording.duration
    utterance = Utterance(
        id=cut.id,
        audio=Path(recording.sources[0].source),
        start=None if whole else cut.start,
        duration=None if whole else cut.duration,
        channel=cut.channel if recording.num_channels > 1 and isinstance(cut.channel, int) else None,
        accept_damaged=accept_damaged,
    )
    waveform = utterance.load(notes)  # (S,)
    seconds = waveform.size / SAMPLE_RATE
    if seconds < cut.duration - DURATION_TOLERANCE:
        raise AudioError(
            f"{recording.sources[0].source}: truncated, {seconds:.2f} s could be decoded, its header states "
            f"{cut.duration:.2f} s"
        )
    return waveform


def _read_all(sources: Sequence[str | Path], names: Names | None) -> tuple[list[Utterance], list[Fault], list[Change]]:
    """Read every source; an id that an earlier source used gets a number behind it."""
    if not sources:
        raise ManifestError("no source of audio given, expected at least one file, folder or manifest")
    utterances: list[Utterance] = []
    faults: list[Fault] = []
    changes: list[Change] = []
    uses: Counter[str] = Counter()
    for source in sources:
        manifest = read_manifest(source, names=names)
        faults.extend(manifest.faults)
        changes.extend(manifest.changes)
        for utterance in manifest.utterances:
            name = utterance.id
            while name in uses:
                uses[utterance.id] += 1
                name = f"{utterance.id}#{uses[utterance.id]}"
            uses[name] += 1
            utterances.append(replace(utterance, id=name))
    if names is not None:
        names.warn()
    return utterances, faults, changes


def _read_headers(paths: Iterable[Path], workers: int) -> dict[Path, Header | AudioError]:
    """Open headers in threads (the time goes to waiting for the disk); a file that cannot be used maps to its error."""

    def read(path: Path) -> Header | AudioError:
        try:
            return read_header(path, str(path), thorough=False)
        except AudioError as error:
            return AudioError(str(error).removeprefix(f"{path}: "))

    unique = sorted(paths)
    if workers == 0:
        return dict(zip(unique, map(read, unique), strict=True))
    with ThreadPoolExecutor(workers) as pool:
        return dict(zip(unique, pool.map(read, unique), strict=True))


def make_cut(utterance: Utterance, header: Header | AudioError) -> Cut:
    """Build a Lhotse cut: a MultiCut of all channels (their mean is taken), or a MonoCut of one, with its label.

    Raises:
        AudioError: the header could not be read, or the segment or channel is not in the audio.
    """
    from lhotse import MonoCut, MultiCut, Recording
    from lhotse.audio import AudioSource

    if isinstance(header, AudioError):
        raise header
    total, start = header.samples / header.rate, utterance.start or 0.0
    duration = total - start if utterance.duration is None else utterance.duration
    end = start + duration
    if start >= total or end > total + DURATION_TOLERANCE:
        raise AudioError(f"the segment goes from {start:g} s to {end:g} s, but the audio has {total:g} s")
    if utterance.channel is not None and utterance.channel >= header.channels:
        raise AudioError(no_channel(utterance.channel, header.channels))
    channels = list(range(header.channels))
    recording = Recording(
        id=utterance.id,
        sources=[AudioSource(type="file", channels=channels, source=str(utterance.audio))],
        sampling_rate=header.rate,
        num_samples=header.samples,
        duration=total,
        channel_ids=channels,
    )
    duration = min(duration, total - start)
    known = {"label": utterance.label} if utterance.label else None
    if utterance.channel is None and header.channels > 1:
        return MultiCut(
            id=utterance.id, start=start, duration=duration, channel=channels, recording=recording, custom=known
        )
    channel = utterance.channel or 0
    return MonoCut(id=utterance.id, start=start, duration=duration, channel=channel, recording=recording, custom=known)


def _first(faults: Sequence[Fault], count: int = 5) -> str:
    """Name the first few faults."""
    return "; ".join(str(fault) for fault in faults[:count]) + (" ..." if len(faults) > count else "")
