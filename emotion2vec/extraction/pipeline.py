"""What every job does with decoded audio, wherever it runs: encode it, write its features, say what became of it."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Protocol

from emotion2vec.corpora.utterance import Utterance
from emotion2vec.disk import FULL, quoted
from emotion2vec.errors import ConfigError
from emotion2vec.extraction.encode.arrays import EncodedAudio
from emotion2vec.extraction.encode.batching import Batch
from emotion2vec.extraction.encode.encoder import Encoder, try_again
from emotion2vec.extraction.encode.lanes import Later, in_lanes
from emotion2vec.extraction.encode.spool import Spool
from emotion2vec.extraction.encode.turns import in_turn
from emotion2vec.extraction.run import Outcome
from emotion2vec.extraction.sources.decoding import AudioFault

WRITES_BEHIND = 32
"""Items whose features may wait to be written while the model goes on."""


class Sink(Protocol):
    """Takes features: files, or what makes something else of them."""

    @property
    def in_order(self) -> bool:
        """Whether items must come in the order of the job's list."""

    def write(self, item: Utterance, encoded: EncodedAudio) -> None:
        """Take the features of one item.

        Raises:
            ManifestError: the item cannot be named there.
            OSError: this item cannot be written.
            ConfigError: nothing more can be written.
            BrokenPipeError: whoever reads the output has gone.
        """


def encode_and_write(
    batches: Iterable[Batch], items: Mapping[int, Utterance], encoder: Encoder, sink: Sink, folder: Path | None
) -> Generator[Outcome, None, None]:
    """Encode the batches, on a CPU side by side, and write the features of each while the next is encoded.

    Args:
        batches: decoded audio; the index of each is that of its item.
        items: what it was decoded from, by index, in the order of the job's list.
        encoder: computes features.
        sink: takes them, where it asks for that in the order of the items.
        folder: where features lie that are not complete or whose turn has not come; None for the system's place.

    Raises:
        ConfigError: nothing more can be written.
    """
    finished: list[Outcome] = []
    spool = Spool(folder)
    encode, lanes = partial(encoder.encode_batch, keep=spool.keep), encoder.lanes(len(items))
    with closing(Later(WRITES_BEHIND)) as later, closing(in_lanes(batches, encode, lanes, try_again)) as stream:
        for encoded in in_turn(stream, items, spool) if sink.in_order else stream:
            if isinstance(encoded, AudioFault):
                yield Outcome(encoded.index, reason=encoded.reason)
            else:
                later.call(partial(write_item, sink, items[encoded.index], encoded), finished.append)
            yield from _drain(finished)
        later.settle()
        yield from _drain(finished)


def write_item(sink: Sink, item: Utterance, encoded: EncodedAudio) -> Outcome:
    """Write one item's features, or say why they cannot be written.

    Raises:
        ConfigError, OSError: nothing more can be written.
        BrokenPipeError: whoever reads the output has gone.
    """
    try:
        sink.write(item, encoded)
    except (BrokenPipeError, ConfigError):
        raise
    except Exception as error:  # what a format makes of one item's facts must not end a job of many
        if quoted(error) in FULL:
            raise
        reason = f"its features cannot be written: {getattr(error, 'strerror', None) or error}"
        return Outcome(encoded.index, reason=reason)
    return Outcome(encoded.index, encoded.seconds, encoded.frames, notes=encoded.notes)


def _drain(finished: list[Outcome]) -> Iterator[Outcome]:
    while finished:
        yield finished.pop(0)
