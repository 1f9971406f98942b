"""What runs in the processes of a Ray cluster: tasks that decode, and actors that encode and write.

Items, clips and outcomes travel as rows of Arrow tables. What happens to a clip is the code of every other job; here is
only how it gets there.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np

from emotion2vec.audio.decode import Note
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.errors import ConfigError
from emotion2vec.extraction.encode.arrays import Arrays, EncodedAudio, FeatureArray, Layout
from emotion2vec.extraction.encode.batching import batches_for
from emotion2vec.extraction.encode.encoder import Encoder
from emotion2vec.extraction.encode.ready import DTYPES, ready_model
from emotion2vec.extraction.pipeline import encode_and_write
from emotion2vec.extraction.run import Outcome
from emotion2vec.extraction.sources.decoding import (
    AnyWaveform,
    AudioFault,
    Hearing,
    LongWaveform,
    Undecoded,
    Waveform,
    decode_one,
)
from emotion2vec.extraction.writers import Writer
from emotion2vec.extraction.writers.ledger import Ledger
from emotion2vec.extraction.writers.outputs import Recorded

if TYPE_CHECKING:
    import pyarrow

MOST_BYTES = 1 << 30
"""Largest features of one item, in bytes, that travel to the process that writes."""

NOBODY = -1
"""Index of the row that reports what stops the whole job."""


def pack_items(items: Mapping[int, Utterance]) -> pyarrow.Table:
    """Rows of items by index; JSON keeps names that are no Unicode, which Arrow's strings do not."""
    import pyarrow

    texts = [json.dumps({**vars(item), "audio": str(item.audio)}) for item in items.values()]
    return pyarrow.table({"index": pyarrow.array(list(items), pyarrow.int64()), "item": texts})


def _unpack_items(table: pyarrow.Table) -> dict[int, Utterance]:
    texts = table["item"].to_pylist()
    return {index: Utterance(**json.loads(text)) for index, text in zip(table["index"].to_pylist(), texts, strict=True)}


@dataclass(frozen=True)
class DecodeItems:
    """A task: rows of items -> rows of decoded clips. Long audio is only measured.

    Attributes:
        hearing: how the network wants to hear it; clips that are longer than its longest do not travel, and the actor
            decodes them again, window by window.
    """

    hearing: Hearing

    def __call__(self, table: pyarrow.Table) -> pyarrow.Table:
        """Decode; a bad file becomes a row with its reason."""
        import pyarrow

        clips = [decode_one(_source(index, item), self.hearing) for index, item in _unpack_items(table).items()]
        long = [clip if isinstance(clip, LongWaveform) else None for clip in clips]
        columns = {
            "waveform": pyarrow.array(
                [clip.waveform.tobytes() if isinstance(clip, Waveform) else None for clip in clips],
                pyarrow.large_binary(),
            ),
            "samples": pyarrow.array([clip.samples if clip else 0 for clip in long], pyarrow.int64()),
            "mean": pyarrow.array([clip.mean if clip else 0.0 for clip in long], pyarrow.float64()),
            "scale": pyarrow.array([clip.scale if clip else 0.0 for clip in long], pyarrow.float64()),
            "notes": pyarrow.array(
                [json.dumps([] if isinstance(clip, AudioFault) else clip.notes) for clip in clips], pyarrow.string()
            ),
            "reason": pyarrow.array(
                [clip.reason if isinstance(clip, AudioFault) else None for clip in clips], pyarrow.string()
            ),
        }
        for name, column in columns.items():
            table = table.append_column(name, column)
        return table


def _unpack_clips(table: pyarrow.Table, items: Mapping[int, Utterance]) -> Iterator[AnyWaveform | AudioFault]:
    others = (table[name].to_pylist() for name in ("samples", "mean", "scale", "notes", "reason"))
    for waveform, index, samples, mean, scale, text, reason in zip(table["waveform"], items, *others, strict=True):
        source, notes = _source(index, items[index]), _notes(text)
        if reason is not None:
            yield AudioFault(source.where, reason, index)
        elif waveform.is_valid:
            yield Waveform(index, source.where, np.frombuffer(waveform.as_buffer(), np.float32), notes)
        else:
            yield LongWaveform(source, samples, mean, scale, notes)


def _notes(text: str) -> tuple[Note, ...]:
    """Notes that travelled as JSON."""
    return tuple(Note(*pair) for pair in json.loads(text))


def _source(index: int, item: Utterance) -> Undecoded:
    return Undecoded(index, item.where, item.blocks)


class Courier:
    """Takes features, see `pipeline.Sink`, for a writer that only the job's own process may use: holds their bytes."""

    in_order = False

    def __init__(self) -> None:
        self._held: dict[int, dict[str, bytes]] = {}

    def write(self, item: Utterance, encoded: EncodedAudio) -> None:
        """Hold the arrays of one item until they are taken.

        Raises:
            ValueError: they are too large to travel.
        """
        arrays = encoded.features
        size = sum(array.nbytes for array in arrays.values())
        if size > MOST_BYTES:
            raise ValueError(
                f"{size / 1e9:.1f} GB are too much for a format with many items in a file on a cluster; expected "
                "format npy or safetensors, or engine local"
            )
        self._held[encoded.index] = {name: array.whole().tobytes() for name, array in arrays.items()}

    def take(self, index: int) -> dict[str, bytes]:
        """The arrays of an item, which are not held any longer."""
        return self._held.pop(index, {})


@dataclass(frozen=True)
class Assignment:
    """What an actor needs to know of its job.

    Attributes:
        encoder: returns the encoder, which all actors of a node read from one copy.
        writer: writes a file per item from here; None when features shall travel.
        folder: of the output.
        marker: a file in it, by which an actor knows that it sees the same folder; None when it writes nothing.
        device: `cpu` or `cuda`.
        precision: what to compute in.
        batch_seconds: most audio in a batch, in s; None for the device's default.
        ledgers: start of the names of files in which actors note what they wrote from what, for a job that is killed
            before their outcomes have arrived.
    """

    encoder: Callable[[], Encoder]
    writer: Writer | None
    folder: Path
    marker: Path | None
    device: str
    precision: str
    batch_seconds: float | None
    ledgers: str = "inputs-"


class EncodeClips:
    """An actor: holds the model; rows of decoded clips -> rows of outcomes, with features where they travel."""

    def __init__(self, assignment: Assignment):
        self._assignment = assignment
        self._stack = ExitStack()
        self._encoder: Encoder | None = None
        self._ledger: Ledger | None = None

    def __call__(self, table: pyarrow.Table) -> Iterator[pyarrow.Table]:
        """Encode and write. What stops the job is a row too: an error would be taken for a lost process."""
        try:
            if self._encoder is None:
                self._encoder = self._begin()
            yield from self._work(table, self._encoder)
        except ConfigError as error:
            yield _outcome_row(Outcome(NOBODY, reason=str(error)), {}, {})
        except Exception:
            yield _outcome_row(Outcome(NOBODY, reason=traceback.format_exc()), {}, {})

    def _begin(self) -> Encoder:
        job = self._assignment
        if job.marker is not None and not job.marker.exists():
            import socket

            raise ConfigError(f"output {job.folder}: not seen from {socket.gethostname()}, expected a shared folder")
        if job.writer is not None:
            name = f"{job.ledgers}{uuid4().hex}.jsonl"
            self._ledger = Ledger(job.folder, name, name, resume=False, at_once=True, stores_facts=False)
        encoder = job.encoder()
        ready = self._stack.enter_context(ready_model(encoder.model, job.device, job.precision))
        encoder.dtype = DTYPES[ready.precision]
        return encoder

    def _work(self, table: pyarrow.Table, encoder: Encoder) -> Iterator[pyarrow.Table]:
        job, courier, sink = self._assignment, Courier(), None
        items = _unpack_items(table)
        if job.writer is not None and self._ledger is not None:
            for item in items.values():
                self._ledger.begin(item)
            sink = Recorded(job.writer, self._ledger)
        batches = batches_for(encoder.model, _unpack_clips(table, items), job.batch_seconds)
        folder, layout = (None, encoder.layout) if sink is None else (job.folder, {})
        for outcome in encode_and_write(batches, items, encoder, sink or courier, folder):
            yield _outcome_row(outcome, courier.take(outcome.index), layout)
        if job.writer is not None:
            job.writer.close()


def _outcome_row(outcome: Outcome, arrays: Mapping[str, bytes], layout: Layout) -> pyarrow.Table:
    """A row of one outcome, with the bytes of each array of the layout; the same columns for every row of a job."""
    import pyarrow

    fields = [("index", pyarrow.int64()), ("seconds", pyarrow.float64()), ("frames", pyarrow.int64())]
    fields += [("reason", pyarrow.string()), ("notes", pyarrow.string())]
    fields += [(f"array {name}", pyarrow.large_binary()) for name in layout]
    row = {
        **vars(outcome),
        "notes": json.dumps(outcome.notes),
        **{f"array {name}": arrays.get(name) for name in layout},
    }
    return pyarrow.Table.from_pylist([row], pyarrow.schema(fields))


def unpack_result(row: Mapping[str, object], layout: Layout) -> Outcome | EncodedAudio:
    """The outcome in a row, or the features that travelled with it.

    Raises:
        ConfigError: the row reports what stops the job.
        RuntimeError: the same, when it is no mistake of the user.
    """
    index, seconds, frames, reason, text = (row[name] for name in ("index", "seconds", "frames", "reason", "notes"))
    assert isinstance(index, int) and isinstance(seconds, float) and isinstance(frames, int) and isinstance(text, str)
    assert reason is None or isinstance(reason, str)
    if index == NOBODY:
        raise RuntimeError(reason) if str(reason).startswith("Traceback") else ConfigError(str(reason))
    arrays: Arrays = {}
    for name, spec in layout.items():
        raw = row.get(f"array {name}")
        if isinstance(raw, bytes):
            shape = [-1 if size is None else size for size in spec.shape]
            arrays[name] = FeatureArray.of(np.frombuffer(raw, spec.dtype).reshape(shape))
    if arrays:
        return EncodedAudio(index, arrays, seconds, frames, _notes(text))
    return Outcome(index, seconds, frames, reason, _notes(text))


def blocks_of(indices: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """Cut a list into pieces that are decoded by one task, and encoded by one call of an actor."""
    return (indices[first : first + size] for first in range(0, len(indices), size))
