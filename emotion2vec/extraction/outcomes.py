"""What every job does with decoded clips, wherever it runs: batches -> encoder -> writer, with an outcome per item."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from emotion2vec.audio.decode import Note
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.errors import ManifestError
from emotion2vec.extraction.encode.arrays import Arrays
from emotion2vec.extraction.encode.background import Later
from emotion2vec.extraction.encode.batching import Batch
from emotion2vec.extraction.encode.encoder import EncodedAudio, Encoder
from emotion2vec.extraction.encode.lanes import in_lanes
from emotion2vec.extraction.encode.spool import spooled
from emotion2vec.extraction.sources.decoding import AudioFault, LongWaveform
from emotion2vec.extraction.writers import Writer

WRITES_BEHIND = 32
"""Items whose features may wait to be written while the model goes on."""


@dataclass(frozen=True)
class Outcome:
    """What became of one item: its features were written, or why not.

    Attributes:
        index: place of the item in the job's list.
        seconds: its audio, in s; 0 if it failed.
        frames: its frames; 0 if it failed.
        reason: why it failed; None if its features were written.
        notes: what is to be said of its audio.
    """

    index: int
    seconds: float = 0.0
    frames: int = 0
    reason: str | None = None
    notes: tuple[Note, ...] = ()


def encode_and_write(
    batches: Iterable[Batch],
    items: Sequence[Utterance] | Mapping[int, Utterance],
    encoder: Encoder,
    writer: Writer,
    folder: Path | None,
) -> Generator[Outcome, None, None]:
    """Encode the batches, on a CPU side by side, and write the features of each while the next is encoded.

    Args:
        batches: decoded clips; the index of each is that of its item.
        items: what the clips were decoded from.
        encoder: computes features.
        writer: takes them.
        folder: where the features of long audio lie until they are complete; None for the system's place.

    Raises:
        ConfigError: nothing more can be written.
    """
    finished: list[Outcome] = []
    encode, lanes = partial(_encode, encoder=encoder, folder=folder), encoder.lanes(len(items))
    with closing(Later(WRITES_BEHIND)) as later, closing(in_lanes(batches, encode, lanes)) as stream:
        for encoded in stream:
            if isinstance(encoded, AudioFault):
                yield Outcome(encoded.index, reason=encoded.reason)
            else:
                item, frames = items[encoded.clip.index], encoder.frames(encoded.clip)
                later.call(partial(_write, writer, item, encoded, frames), finished.append)
            yield from _drain(finished)
        later.settle()
        yield from _drain(finished)


def write_item(writer: Writer, item: Utterance, arrays: Arrays) -> str | None:
    """Write one item's features, or say why they cannot be written.

    Raises:
        ConfigError: nothing more can be written.
        BrokenPipeError: whoever reads the output has gone.
    """
    try:
        writer.write(item, arrays)
    except BrokenPipeError:
        raise
    except (OSError, ManifestError, ValueError) as error:
        return f"its features cannot be written: {getattr(error, 'strerror', None) or error}"
    return None


def _write(writer: Writer, item: Utterance, encoded: EncodedAudio, frames: int) -> Outcome:
    clip = encoded.clip
    reason = write_item(writer, item, encoded.features)
    if reason is not None:
        return Outcome(clip.index, reason=reason)
    return Outcome(clip.index, clip.seconds, frames, notes=clip.notes)


def _drain(finished: list[Outcome]) -> Iterator[Outcome]:
    while finished:
        yield finished.pop(0)


def _encode(batch: Batch, encoder: Encoder, folder: Path | None) -> Iterator[EncodedAudio | AudioFault]:
    if isinstance(batch, AudioFault):
        yield batch
    elif isinstance(batch, LongWaveform):
        yield encoder.encode_long_safely(batch, partial(spooled, folder=folder))
    else:
        yield from encoder.encode_safely(batch)
