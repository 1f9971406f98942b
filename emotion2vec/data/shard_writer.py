"""One shard of a prepared corpus: validated utterances written as Lhotse Shar, complete or not at all. S: samples."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emotion2vec.audio.decode import Note, describe_content
from emotion2vec.audio.decode.reading import Header, read_header
from emotion2vec.audio.frames import MIN_SAMPLES, SAMPLE_RATE
from emotion2vec.corpora.faults import Fault
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.data.config import PrepareOptions
from emotion2vec.data.cuts import load_cut, make_cut
from emotion2vec.data.shards import INDEX, SHAR_FOLDER, shard_name
from emotion2vec.errors import AudioError
from emotion2vec.files import publish, write_bytes

if TYPE_CHECKING:
    from lhotse.cut import Cut

WORK_FOLDER = ".prepare"
"""Where a preparation keeps what is not complete yet, below its output."""

HEADERS = 10_000
"""Files whose headers a process remembers."""

QUIET = 2.0**-8
"""Peak below which 24 bits are not enough: they leave it less than 16."""


@dataclass
class ShardSummary:
    """What became of the utterances of a shard.

    Attributes:
        seconds: audio of each utterance written, in s, in order.
        rates: utterances by the sample rate of their file, in Hz.
        channels: utterances by the channels of their file.
        faults: utterances that cannot be used.
        size: bytes of audio written.
        notes: utterances that were written, and whose audio something is to be said of, by the kind of that.
    """

    seconds: list[float] = field(default_factory=list)
    rates: Counter[int] = field(default_factory=Counter)
    channels: Counter[int] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)
    size: int = 0
    notes: Counter[str] = field(default_factory=Counter)


def write_shard(
    number: int, utterances: Sequence[Utterance], output: Path, options: PrepareOptions, stopped: Callable[[], bool]
) -> ShardSummary | None:
    """Decode every utterance, and write those that are sound.

    Args:
        number: of the shard.
        utterances: what to write, in this order.
        output: the prepared folder.
        options: how.
        stopped: asked between utterances whether to stop.

    Returns:
        What was written, or None if it was stopped before the end.
    """
    work = output / WORK_FOLDER
    summary, rows, lines, end = ShardSummary(), [], [], 0
    partial = work / f"{number:06d}.partial"
    with open(partial, "wb") as stream:
        for utterance in utterances:
            if stopped():
                return None
            try:
                cut, waveform, notes = _validated(utterance, options.accept_damaged)
            except AudioError as error:
                summary.faults.append(Fault(str(utterance.audio), str(error).removeprefix(f"{utterance.audio}: ")))
                continue
            summary.rates[cut.recording.sampling_rate] += 1
            summary.channels[cut.recording.num_channels] += 1
            summary.notes.update({note.kind for note in notes})
            if options.audio == "tar":
                recode = options.resample or bool(notes) or not _is_plain(utterance)
                member, meta, cut = _members(cut, waveform, utterance, recode)
                stream.write(member + meta)
                rows.append((end, len(member), waveform.size))
                end += len(member) + len(meta)
            lines.append(json.dumps(cut.to_dict()) + "\n")
            if options.audio == "files":
                size = len(lines[-1].encode())
                stream.write(lines[-1].encode())
                rows.append((end, size, waveform.size))
                end += size
            summary.seconds.append(waveform.size / SAMPLE_RATE)
        if options.audio == "tar":
            stream.write(bytes(2 * tarfile.BLOCKSIZE))  # the end of an archive
    if options.audio == "tar":
        partial_cuts = work / f"{number:06d}.cuts"
        partial_cuts.write_bytes(gzip.compress("".join(lines).encode(), mtime=0))
        publish(partial_cuts, output / SHAR_FOLDER / f"cuts.{number:06d}.jsonl.gz")
        summary.size = end
    publish(partial, output / shard_name(number, options.audio))
    write_bytes(work / f"{number:06d}.index", np.array(rows, dtype=INDEX).tobytes())
    values = {**vars(summary), "faults": [asdict(fault) for fault in summary.faults]}
    write_bytes(work / f"{number:06d}.json", json.dumps(values).encode())  # last: the shard is complete
    return summary


def read_shard_summary(output: Path, number: int) -> ShardSummary | None:
    """What an earlier preparation wrote as a shard, None if it did not complete it."""
    try:
        values = json.loads((output / WORK_FOLDER / f"{number:06d}.json").read_bytes())
    except FileNotFoundError:
        return None
    return ShardSummary(
        seconds=values["seconds"],
        rates=Counter({int(rate): count for rate, count in values["rates"].items()}),
        channels=Counter({int(channels): count for channels, count in values["channels"].items()}),
        faults=[Fault(**fault) for fault in values["faults"]],
        size=values["size"],
        notes=Counter(values["notes"]),
    )


def _validated(utterance: Utterance, accept_damaged: bool) -> tuple[Cut, np.ndarray, list[Note]]:
    """Cut of an utterance, all of its samples, (S,) at 16 kHz, and what is to be said of them.

    Raises:
        AudioError: it cannot be decoded, is damaged, is not finite, or is shorter than 400 samples.
    """
    from lhotse import SupervisionSegment

    notes: list[Note] = []
    cut = make_cut(utterance, _header(utterance.path, accept_damaged))
    if round(cut.duration * SAMPLE_RATE) < MIN_SAMPLES:
        raise AudioError(f"too short, {cut.duration:g} s, expected at least {MIN_SAMPLES / SAMPLE_RATE:g} s")
    waveform = load_cut(cut, accept_damaged=accept_damaged, notes=notes)
    if utterance.label or utterance.speaker:
        cut.supervisions = [
            SupervisionSegment(
                id=cut.id,
                recording_id=cut.recording.id,
                start=0.0,
                duration=cut.duration,
                channel=cut.channel,
                speaker=utterance.speaker,
                custom={"emotion": utterance.label} if utterance.label else None,
            )
        ]
    return cut, waveform, notes


@lru_cache(maxsize=HEADERS)
def _header(path: Path, accept_damaged: bool) -> Header | AudioError:
    """Header of a file, or why it has none; the utterances of a long recording share it, and some are read whole."""
    try:
        return read_header(path, str(path), accept_damaged=accept_damaged)
    except AudioError as error:
        return error


def _is_plain(utterance: Utterance) -> bool:
    """Whether an utterance is a whole file that libsndfile decodes, so that every reader of the shards does."""
    if utterance.start is not None or utterance.duration is not None or utterance.channel is not None:
        return False
    kind = describe_content(utterance.path)
    return kind is not None and kind.decoder == "libsndfile"


def _members(cut: Cut, waveform: np.ndarray, utterance: Utterance, recode: bool) -> tuple[bytes, bytes, Cut]:
    """Tar members of an utterance's audio and of Lhotse's record of it, and its cut."""
    from lhotse.shar.utils import to_shar_placeholder

    if recode:
        encoded, suffix = _stored(waveform)
        cut = _mono(cut, waveform.size)
    else:
        encoded, suffix = utterance.path.read_bytes(), utterance.path.suffix.lower()
    cut.recording = to_shar_placeholder(cut.recording)
    record = json.dumps(cut.recording.to_dict()).encode()
    return _member(cut.id + suffix, encoded), _member(f"{cut.id}.json", record), cut


def _stored(waveform: np.ndarray) -> tuple[bytes, str]:
    """A file of samples (S,) at 16 kHz, and its suffix: FLAC of 24 bits, in which what has 16 takes no more room.

    What lossy decoding or resampling brought beyond full scale is scaled, not clipped. Audio that is so quiet that 24
    bits leave it less than 16 is stored as floats.
    """
    import soundfile

    stream, peak = io.BytesIO(), float(np.abs(waveform).max())
    if peak < QUIET:
        soundfile.write(stream, waveform, SAMPLE_RATE, format="WAV", subtype="FLOAT")
        return stream.getvalue(), ".wav"
    soundfile.write(stream, waveform / max(1.0, peak), SAMPLE_RATE, format="FLAC", subtype="PCM_24")
    return stream.getvalue(), ".flac"


def _mono(cut: Cut, samples: int) -> Cut:
    """The same utterance as a whole 16 kHz mono recording."""
    from lhotse import MonoCut, Recording
    from lhotse.audio import AudioSource

    duration = samples / SAMPLE_RATE
    recording = Recording(
        id=cut.id,
        sources=[AudioSource(type="shar", channels=[0], source="")],
        sampling_rate=SAMPLE_RATE,
        num_samples=samples,
        duration=duration,
    )
    for supervision in cut.supervisions:
        supervision.channel, supervision.duration, supervision.recording_id = 0, duration, cut.id
    return MonoCut(cut.id, 0.0, duration, 0, supervisions=cut.supervisions, recording=recording)


def _member(name: str, data: bytes) -> bytes:
    """A member of a tar with its header, padded to whole blocks."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info.tobuf(format=tarfile.PAX_FORMAT) + data + bytes(-len(data) % tarfile.BLOCKSIZE)
