"""What a model's main head says of speech without labels, written as features are: in parts, resumable, by many.

A job is an extraction (`engine`) whose arrays are the head's probabilities and not what the head reads: those alone
travel and are written, 4 K bytes for each clip or window.

N: clips. W: windows. T: frames. D: channels of a frame. K: classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.audio.windows import Chunking
from emotion2vec.corpora.utterance import Listing
from emotion2vec.errors import ConfigError
from emotion2vec.extraction.encode.arrays import Arrays, ArraySpec, EncodedAudio, FeatureArray
from emotion2vec.extraction.encode.batching import Batch
from emotion2vec.extraction.encode.choices import FeatureChoice
from emotion2vec.extraction.encode.encoder import Encoder
from emotion2vec.extraction.encode.workload import Workload
from emotion2vec.extraction.engine import Place, carry_out
from emotion2vec.extraction.executor import Executor, executor_for
from emotion2vec.extraction.options import ExecutorOptions
from emotion2vec.extraction.run import ExtractionReport
from emotion2vec.extraction.scoring import Scorer, read_by
from emotion2vec.extraction.sources.decoding import AudioFault
from emotion2vec.model.fingerprint import weights_hash
from emotion2vec.progress import ProgressCallback

if TYPE_CHECKING:
    from emotion2vec.model.speech import SpeechEncoder

FORMAT = "parquet"
"""What probabilities are written in."""

SCORES, WINDOWS, SECONDS = "scores", "windows", "seconds"
"""Columns of the parts: of the whole clip (K), of its windows (W, K), and its length."""


@dataclass(frozen=True, kw_only=True)
class Labelling:
    """What is asked of a labelling job.

    Attributes:
        classes: K labels of the model's head, in the order in which probabilities are written.
        window: length of windows that are scored beside the whole clip, in s; None for no windows.
        shard: `i/n` of the list, which is divided already; None for all of it.
        executor: how the job runs, and where.
    """

    classes: Sequence[str]
    window: float | None = None
    shard: str | None = None
    executor: ExecutorOptions


class ScoringEncoder(Encoder):
    """An encoder that ends in the main head: its arrays are probabilities, of the clip and of its windows.

    Args:
        model: with a head.
        asked: what is asked of the job.
        executor: whose precision and graph are used.
    """

    def __init__(self, model: SpeechEncoder, asked: Labelling, executor: Executor):
        assert model.head is not None
        stride = model.config.grid.stride
        step = None if asked.window is None else max(1, round(asked.window * SAMPLE_RATE / stride))
        # Windows and the whole are cut from the same frames, which stay here.
        choice = read_by([model.head], model.config.width, None)
        choice = choice if step is None else FeatureChoice(layers=choice.layers)
        super().__init__(model, choice, precision=executor.precision, chunking=Chunking(), graph=executor.graph)
        labels = {"": tuple(asked.classes)}
        self._whole = Scorer(model, choice, None, labels)
        self._windows = None if step is None else Scorer(model, choice, step, labels)
        kinds = {SCORES: (len(asked.classes),), SECONDS: (1,)}
        kinds |= {} if step is None else {WINDOWS: (None, len(asked.classes))}  # type: ignore[dict-item]
        self.layout = {name: ArraySpec(shape, np.dtype(np.float32)) for name, shape in kinds.items()}

    def encode_batch(self, batch: Batch, keep: Callable[[Arrays], Arrays]) -> Iterator[EncodedAudio | AudioFault]:
        """See `Encoder`; features of each clip become probabilities."""
        for encoded in super().encode_batch(batch, keep):
            yield encoded if isinstance(encoded, AudioFault) else self._scored(encoded)

    def _scored(self, encoded: EncodedAudio) -> EncodedAudio:
        (array,) = encoded.features.values()
        features = array.whole()  # ([L,] T, D), or pooled
        held = replace(encoded, features={"": FeatureArray.of(features)})
        rows = {SCORES: self._whole(held)[""][0], SECONDS: np.array([encoded.seconds])}
        if self._windows is not None:
            rows[WINDOWS] = self._windows(held)[""]
        return replace(encoded, features={name: FeatureArray.of(rows[name].astype(np.float32)) for name in self.layout})


def label(
    found: Listing,
    model: str | Path,
    output: Path,
    asked: Labelling,
    shown: Callable[[int], AbstractContextManager[ProgressCallback | None]],
) -> ExtractionReport:
    """Write what a model says of clips; what is there already stays, and is done again where the audio changed.

    Args:
        found: the clips of the shard.
        model: what `load_model` takes, with a head that has the classes.
        output: folder of the parts, which shards share.
        asked: what is asked.
        shown: gives what is to be called after each of so many clips.

    Raises:
        ConfigError: the model lacks a head or a class; other settings or another model made what is there; another
            process writes it; or the package pyarrow is missing.
        CheckpointError: the model cannot be loaded.
    """
    workload = Workload.of(FeatureChoice(), [item.duration for item in found.utterances])
    with executor_for(model, asked.executor, workload) as executor:
        check_head(model, executor.model, asked.classes)
        encoder = ScoringEncoder(executor.model, asked, executor)
        facts: dict[str, Any] = {
            "model": weights_hash(executor.model),
            "format": FORMAT,
            "precision": executor.precision,
            "classes": list(asked.classes),
            "window": asked.window,
        }
        return carry_out(executor, encoder, found, Place(FORMAT, output, asked.shard, True), facts, shown)


def check_head(name: str | Path, model: SpeechEncoder, classes: Sequence[str]) -> None:
    """Check that a model has a head that tells some classes apart.

    Raises:
        ConfigError: it has none, lacks a class, or reads what is said too.
    """
    labels = [] if model.head is None or model.head.config.task != "classes" else model.head.used_labels
    if not labels:
        raise ConfigError(f"model {name} has no head for classes, expected one that was fine-tuned on labels")
    if lacking := [one for one in classes if one not in labels]:
        raise ConfigError(f"model {name} lacks the classes {', '.join(lacking)}; it has {', '.join(labels)}")
    check_untold(name, model)


def check_untold(name: str | Path, model: SpeechEncoder) -> None:
    """Check that a model's head reads no texts, which labelling does not tell it.

    Raises:
        ConfigError: it does.
    """
    if model.head is not None and model.head.reads_text:
        raise ConfigError(f"model {name} has a head that reads what is said, expected one that hears speech alone")


@dataclass(frozen=True)
class Said:
    """What a job wrote.

    Attributes:
        ids: of N clips.
        seconds: (N,) their lengths.
        scores: (N, K).
        agreeing: (N,) share of a clip's windows whose best class is the clip's; None where there are no windows.
    """

    ids: list[str]
    seconds: np.ndarray
    scores: np.ndarray
    agreeing: np.ndarray | None


def read_said(output: Path) -> Said:
    """Read what all shards of a job wrote, in the order of their files.

    Raises:
        ConfigError: a part cannot be read.
    """
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    ids: list[str] = []
    columns: dict[str, list[np.ndarray]] = {SECONDS: [], SCORES: [], "agreeing": []}
    for path in sorted(output.glob(f"features*.{FORMAT}")):
        try:
            with open(path, "rb") as stream, ParquetFile(stream) as file:
                for number in range(file.num_row_groups):
                    table = file.read_row_group(number)
                    ids += table["id"].to_pylist()
                    scores = _numbers(table[SCORES]).reshape(table.num_rows, -1)
                    columns[SCORES].append(scores)
                    columns[SECONDS].append(_numbers(table[SECONDS]))
                    if WINDOWS in table.column_names:
                        columns["agreeing"].append(_agreeing(table[WINDOWS].combine_chunks(), scores))
        except (OSError, ValueError, KeyError, ArrowException) as error:
            raise ConfigError(f"{path}: cannot be read as labels: {error}; expected a part of them") from error
    whole = {name: np.concatenate(parts) if parts else np.empty(0) for name, parts in columns.items()}
    agreeing = whole["agreeing"] if columns["agreeing"] else None
    return Said(ids, whole[SECONDS], whole[SCORES], agreeing)


def _numbers(column: Any) -> np.ndarray:
    """All numbers of a column of lists, flat."""
    flat: np.ndarray = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return flat


def _agreeing(windows: Any, scores: np.ndarray) -> np.ndarray:
    """Share of each clip's windows, lists of (W, K), whose best class is the best of its scores (N, K)."""
    counts = windows.value_lengths().to_numpy()  # (N,)
    best = windows.flatten().flatten().to_numpy().reshape(counts.sum(), -1).argmax(axis=1)
    owner = np.repeat(np.arange(len(counts)), counts)
    same = best == scores.argmax(axis=1)[owner]
    shares: np.ndarray = np.bincount(owner, weights=same, minlength=len(counts)) / counts
    return shares
