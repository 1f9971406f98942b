"""Labels and scores of audio by a model that has a head: sources -> features -> head -> JSON lines or CSV.

What needs torch is imported when options and sources are known to be right, as in `engine`.

T: frames. W: windows. C: labels. D: model width.
"""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from emotion2vec.audio.frames import SAMPLE_RATE, frame_stride
from emotion2vec.audio.windows import Chunking
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.errors import ConfigError
from emotion2vec.extraction.encode.arrays import Arrays
from emotion2vec.extraction.encode.choices import FeatureChoice
from emotion2vec.extraction.options import ExecutorOptions, Workload, backend_faults, check_options, option_faults
from emotion2vec.extraction.progress import progress_bar
from emotion2vec.extraction.run import ExtractionReport, Job
from emotion2vec.extraction.sources.named import AnySources, read_sources
from emotion2vec.extraction.writers.base import SafeFolder, safe_name, whole_file
from emotion2vec.files import check_folder_name

if TYPE_CHECKING:
    from emotion2vec.extraction.outcomes import Outcome
    from emotion2vec.model.encoder import Emotion2vec
    from emotion2vec.model.heads import MeanLinear


COLUMNS = ("id", "file", "start", "end", "window", "speaker", "given_label", "label")
"""What a row says beside scores: times in s within the file, and speaker and label as the list gives them."""


def predict(
    source: AnySources,
    *,
    model: str | Path | Emotion2vec,
    output: Path | None = None,
    window: float | None = None,
    plot: Path | None = None,
    root: Path | None = None,
    channel: int | None = None,
    segments: str | Path | None = None,
    accept_damaged: bool = False,
    precision: str = "fp32",
    backend: str = "auto",
    device: str | None = None,
    progress: bool = False,
) -> ExtractionReport:
    """Score everything that the sources list, one row per utterance or per window, in the order of the sources.

    Args:
        source: see `read_sources`.
        model: a model with a head, or what `load_model` takes.
        output: `.jsonl` or `.csv` file; None for JSON lines on stdout.
        window: length of a window in s, rounded to a multiple of 20 ms; None scores whole utterances.
        plot: folder for a picture of each item's scores over time; needs `window`.
        root: folder that relative paths in manifests start from.
        channel: take this channel, counted from 0, in place of the mean of all.
        segments: RTTM or Kaldi `segments` file that cuts the recordings, or `vad` for their stretches with speech.
        accept_damaged: take what there is of damaged files, and warn of each; otherwise they fail.
        precision: `fp32`, `bf16`, `fp16`, `int8` (on a CPU) or `auto`.
        backend: `torch`, `onnx` for onnxruntime on a CPU, or `auto` for the faster one.
        device: `cpu`, `cuda`, ..., or `auto`; None means `auto`, or where a given model is.
        progress: show a progress bar if stderr is a terminal.

    Raises:
        ConfigError: an argument is wrong, the model has no head, or the output cannot be written.
        ManifestError: the sources cannot be read.
        CheckpointError: the model cannot be loaded.
    """
    check_options(_faults(precision, window, plot, output) + backend_faults(backend, precision, None))
    if plot is not None:
        check_folder_name(plot, "plot", "a picture for each input")
    found = read_sources(source, root=root, channel=channel, segments=segments, accept_damaged=accept_damaged)

    from emotion2vec.extraction.encode.encoder import Encoder
    from emotion2vec.extraction.executor import local_executor

    step = 1 if window is None else _frames_of(window)
    choice = FeatureChoice(granularity="utterance" if window is None else "frame", downsample=step)
    options = ExecutorOptions(device=device, precision=precision, backend=backend)
    workload = Workload.of(choice, [item.duration for item in found.utterances])
    with local_executor(model, options, workload) as executor:
        head = executor.model.head
        if head is None:
            name = f"{model}: this model" if isinstance(model, str | Path) else "this model"
            raise ConfigError(f"{name} has no head, expected a fine-tuned one for predict")
        encoder = Encoder(
            executor.model, choice, precision=executor.precision, chunking=Chunking(), graph=executor.graph
        )
        with _open(output) as stream:
            writer = ScoreWriter(
                head, stream, output.suffix.lower() if output else ".jsonl", step if window else None, plot
            )
            job = Job(writer, None, ExtractionReport.by(executor))
            job.begin(found)
            todo = job.plan(found.utterances, resume=False)
            with progress_bar(len(todo)) if progress else nullcontext() as callback:
                outcomes = executor.outcomes(todo, encoder, writer, None)
                with closing(outcomes):
                    job.run(settled(outcomes, todo, writer), todo, callback)
    return job.report


def _faults(precision: str, window: float | None, plot: Path | None, output: Path | None) -> list[str]:
    """What is wrong with the options, whatever the model and the sources."""
    faults = option_faults(precision=precision, batch_seconds=None, workers=None)
    if window is not None and not (math.isfinite(window) and _frames_of(window) >= 1):
        faults.append(f"window is {window!r}, expected at least 0.02 s")
    if plot is not None and window is None:
        faults.append("plot needs a window, such as --window 1")
    if plot is not None and find_spec("matplotlib") is None:
        faults.append("plot needs the package matplotlib: pip install 'emotion2vec[plots]'")
    if output is not None and output.suffix.lower() not in _WRITERS:
        faults.append(f"output is {output}, expected a name that ends in .jsonl or .csv")
    return faults


def _frames_of(window: float) -> int:
    """Frames in a window of so many s."""
    return round(window * SAMPLE_RATE / frame_stride())


class ScoreWriter:
    """Turns the features of each item into rows, in the order of the items: see `writers.Writer`.

    Scores wait until those of all items before are written; `settle` says which item is finished, and how long it is.
    """

    nested, at_once, stores_facts = False, True, True

    def __init__(self, head: MeanLinear, stream: IO[str], suffix: str, step: int | None, plot: Path | None):
        self._head = head
        self._step = step
        self._plot = plot
        self._labels = head.used_labels
        self._row = _WRITERS[suffix](stream, self._labels)
        self._scores: dict[str, list[dict[str, float]]] = {}
        self._waiting: dict[int, tuple[Utterance, float]] = {}
        self._next = 0

    def targets(self, item: Utterance) -> list[str]:
        """Every item has rows of its own."""
        return [f"{item.id} {item.start} {item.channel}"]

    def has(self, item: Utterance) -> bool:
        """Nothing is ever there already."""
        return False

    def remove(self, items: Sequence[Utterance]) -> None:
        """Nothing is ever there."""

    def write(self, item: Utterance, arrays: Arrays) -> None:
        """Score an utterance (D,), or windows (W, D)."""
        import torch

        (array,) = arrays.values()
        pooled = torch.from_numpy(np.atleast_2d(array.whole())).to(self._head.weight.device)  # (1 or W, D)
        with torch.inference_mode():
            self._scores[self.targets(item)[0]] = self._head.by_label(self._head.of_pooled(pooled))

    def settle(self, index: int, item: Utterance, seconds: float) -> None:
        """Say that the item of this place is finished, of so many s, and write the rows whose turn it is."""
        self._waiting[index] = item, seconds
        while self._next in self._waiting:
            self._write_rows(*self._waiting.pop(self._next))
            self._next += 1

    def close(self) -> None:
        """Write what still waits for items that were never finished."""
        for index in sorted(self._waiting):
            self._write_rows(*self._waiting.pop(index))

    def _write_rows(self, item: Utterance, seconds: float) -> None:
        """Write the rows of an item, none if it failed."""
        scores = self._scores.pop(self.targets(item)[0], [])
        begin = item.start or 0.0
        facts: dict[str, Any] = {"id": item.id, "file": str(item.audio)}
        known = {"speaker": item.speaker, "given_label": item.label}
        edges = self._edges(len(scores), seconds)
        for number, row in enumerate(scores):
            start, end = edges[number], edges[number + 1]
            times = {"start": round(begin + start, 6), "end": round(begin + end, 6)}
            if self._step is not None:
                times["window"] = round(end - start, 6)
            label = max(row, key=row.__getitem__)
            self._row({**facts, **times, **known, "label": label, "scores": row})
        if self._plot is not None and scores:
            self._draw(item, scores, [begin + edge for edge in edges])

    def _edges(self, windows: int, seconds: float) -> list[float]:
        """Where windows begin, and where the last one ends: with the audio; in s from the item's start."""
        length = seconds if self._step is None else self._step * frame_stride() / SAMPLE_RATE
        return [number * length for number in range(windows)] + [seconds]

    def _draw(self, item: Utterance, scores: list[dict[str, float]], edges: list[float]) -> None:
        """Draw the scores of an item over time to `<plot>/<id>.png`."""
        from matplotlib.figure import Figure

        assert self._plot is not None
        self._plot.mkdir(parents=True, exist_ok=True)
        path = self._plot / f"{safe_name(item)}.png"
        SafeFolder(self._plot).make_parent(path, item)
        figure = Figure(figsize=(9, 3), layout="constrained")
        axes = figure.subplots()
        for label in self._labels:
            axes.stairs([row[label] for row in scores], edges, label=label, baseline=None)
        axes.set(xlabel="seconds", ylabel="probability", ylim=(0, 1), title=item.id)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        with whole_file(path, self._plot) as stream:
            figure.savefig(stream, format="png")


def settled(
    outcomes: Iterator[Outcome], todo: Sequence[Utterance], writer: ScoreWriter
) -> Generator[Outcome, None, None]:
    """Pass outcomes on, and tell the writer of each."""
    with closing(writer):
        for outcome in outcomes:
            writer.settle(outcome.index, todo[outcome.index], outcome.seconds)
            yield outcome


class _JsonRows:
    def __init__(self, stream: IO[str], labels: list[str]):
        self._stream = stream

    def __call__(self, row: dict[str, Any]) -> None:
        rounded = {label: round(score, 6) for label, score in row["scores"].items()}
        self._stream.write(json.dumps({**row, "scores": rounded}) + "\n")
        self._stream.flush()


class _CsvRows:
    """Columns of `COLUMNS`, and one for each label's score; what is not known is empty."""

    def __init__(self, stream: IO[str], labels: list[str]):
        self._writer = csv.writer(stream)
        self._writer.writerow([*COLUMNS, *(f"score:{label}" for label in labels)])
        self._labels = labels

    def __call__(self, row: dict[str, Any]) -> None:
        facts = [row.get(name) for name in COLUMNS]
        self._writer.writerow([*facts, *(f"{row['scores'][label]:.6f}" for label in self._labels)])


_WRITERS: dict[str, Callable[[IO[str], list[str]], Callable[[dict[str, Any]], None]]] = {
    ".jsonl": _JsonRows,
    ".csv": _CsvRows,
}


@contextmanager
def _open(output: Path | None) -> Iterator[IO[str]]:
    """The stream that rows go to."""
    if output is None:
        yield sys.stdout
        return
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        stream = open(output, "w", encoding="utf-8", errors="surrogateescape", newline="")  # noqa: SIM115 (below)
    except OSError as error:
        raise ConfigError(f"output {output}: cannot be written: {error.strerror}") from error
    with stream:
        yield stream
