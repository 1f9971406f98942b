"""Labels and scores of audio by a model that has a head: sources -> features -> head -> JSON lines or CSV.

What needs torch is imported when options and sources are known to be right, as in `engine`.

T: frames. W: windows. C: labels. D: model width. L: layers. P: channels of what is pooled over time.
"""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from emotion2vec.assets import DEFAULT_MODEL
from emotion2vec.audio.frames import SAMPLE_RATE, WAVEFORM_GRID, FrameGrid
from emotion2vec.audio.windows import Chunking
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.errors import ConfigError
from emotion2vec.extraction.encode.arrays import EncodedAudio
from emotion2vec.extraction.encode.choices import FeatureChoice
from emotion2vec.extraction.encode.workload import Workload
from emotion2vec.extraction.options import BatchOptions, PredictOptions, check_options
from emotion2vec.extraction.progress import progress_bar
from emotion2vec.extraction.run import ExtractionReport, Job
from emotion2vec.extraction.sources.named import AnySources, read_sources
from emotion2vec.extraction.writers.base import SafeFolder, safe_name
from emotion2vec.files import check_folder_name, complete_file
from emotion2vec.settings import from_keywords

if TYPE_CHECKING:
    from torch import Tensor

    from emotion2vec.model.heads import Head
    from emotion2vec.model.speech import SpeechEncoder


EXPECTED = "a model that was fine-tuned on labels, such as plus-base, which is downloaded (pip install modelscope)"
"""What `predict` needs."""
COLUMNS = ("id", "file", "start", "end", "window", "speaker", "given_label", "label")
"""What a row says beside scores: times in s within the file, and speaker and label as the list gives them.

A head of values gives no label, and its scores are the values.
"""


def predict(
    source: AnySources,
    *,
    model: str | Path | SpeechEncoder = DEFAULT_MODEL,
    output: Path | None = None,
    progress: bool = False,
    **options: Any,
) -> ExtractionReport:
    """Score everything that the sources list, one row per utterance or per window, in the order of the sources.

    Args:
        source: see `read_sources`.
        model: a model with a head, or what `load_model` takes; by default the one that ships with the package.
        output: `.jsonl` or `.csv` file; None for JSON lines on stdout.
        progress: show a progress bar if stderr is a terminal.
        options: see `PredictOptions`: `window` (in s, rounded to a multiple of 20 ms; None scores whole utterances),
            `plot`, `root`, `channel`, `segments`, `accept_damaged`, `precision`, `backend`, `device`.

    Raises:
        ConfigError: an argument is wrong, the model has no head, or the output cannot be written.
        ManifestError: the sources cannot be read.
        CheckpointError: the model cannot be loaded.
    """
    return run(source, model, output, from_keywords(PredictOptions, options), progress=progress)


def run(
    source: AnySources,
    model: str | Path | SpeechEncoder,
    output: Path | None,
    options: PredictOptions,
    *,
    progress: bool = False,
) -> ExtractionReport:
    """Do what `predict` does, with its options in one object."""
    check_options(_faults(options, output) + options.compute.backend_faults())
    if options.plot is not None:
        check_folder_name(options.plot, "plot", "a picture for each input")
    found = read_sources(source, **vars(options.sources))

    from emotion2vec.checkpoint import load_model
    from emotion2vec.devices import choose_device
    from emotion2vec.extraction.encode.encoder import Encoder
    from emotion2vec.extraction.encode.ready import check_model
    from emotion2vec.extraction.executor import local_executor, report_of

    check_model(model)
    name, batching = model, BatchOptions(**vars(options.compute))
    if isinstance(model, str | Path):
        model = load_model(model, device=str(choose_device(batching.device)))
    if model.head is None:
        this = f"model {name}" if isinstance(name, str | Path) else "the model"
        raise ConfigError(f"{this} has no head, expected {EXPECTED}")
    step = None if options.window is None else max(1, _frames_of(options.window, model.config.grid))
    choice = _read_by(model.head, model.config.width, step)
    workload = Workload.of(choice, [item.duration for item in found.utterances])
    with local_executor(model, batching, workload) as executor:
        scorer = Scorer(executor.model, choice, step)
        encoder = Encoder(
            executor.model, choice, precision=executor.precision, chunking=Chunking(), graph=executor.graph
        )
        with _open(output) as stream:
            scores = Scores(scorer, stream, output.suffix.lower() if output else ".jsonl", options.plot)
            job = Job(report_of(executor))
            job.begin(found)
            with progress_bar(len(found.utterances)) if progress else nullcontext() as callback:
                job.run(executor.outcomes(found.utterances, encoder, scores, None), found.utterances, callback)
    return job.report


def _faults(options: PredictOptions, output: Path | None) -> list[str]:
    """What is wrong with the options, whatever the model and the sources."""
    faults, window, plot = options.compute.faults(), options.window, options.plot
    if window is not None and not (math.isfinite(window) and _frames_of(window, WAVEFORM_GRID) >= 1):
        faults.append(f"window is {window!r}, expected at least 0.02 s")
    if plot is not None and window is None:
        faults.append("plot needs a window, such as --window 1")
    if plot is not None and find_spec("matplotlib") is None:
        faults.append("plot needs the package matplotlib: pip install 'emotion2vec[plots]'")
    if output is not None and output.suffix.lower() not in _ROWS:
        faults.append(f"output is {output}, expected a name that ends in .jsonl or .csv")
    return faults


def _frames_of(window: float, grid: FrameGrid) -> int:
    """Frames in a window of so many s."""
    return round(window * SAMPLE_RATE / grid.stride)


def _read_by(head: Head, width: int, step: int | None) -> FeatureChoice:
    """The features that a head reads: pooled on the way where that is all it asks for, else frames.

    Args:
        head: whose features they are.
        width: channels D of a frame.
        step: frames of a window; None for whole utterances.
    """
    from emotion2vec.model.heads import PooledHead

    layers = "all" if head.reads_layers else "last"
    if not isinstance(head, PooledHead) or (step and head.width != width):
        return FeatureChoice(layers=layers)
    if step:
        return FeatureChoice(layers=layers, downsample=step)
    return FeatureChoice(granularity="utterance", layers=layers, pooling="mean" if head.width == width else "mean+std")


class Scorer:
    """A model's head on features as `_read_by` chose them.

    Attributes:
        head: the head.
        seconds: length of a window in s; None for whole utterances.
    """

    def __init__(self, model: SpeechEncoder, choice: FeatureChoice, step: int | None):
        assert model.head is not None
        self.head = model.head
        self.seconds = None if step is None else step * model.config.grid.stride / SAMPLE_RATE
        self._device = model.device
        self._pooled = choice.granularity == "utterance" or choice.downsample > 1
        self._step = step

    def __call__(self, features: np.ndarray) -> list[dict[str, float]]:
        """Probabilities by label of each window, or of the utterance: from ([L,] T, D), ([L,] W, P) or ([L,] P)."""
        import torch

        read = torch.from_numpy(features).to(self._device)
        with torch.inference_mode():
            return self.head.by_label(self._of_pooled(read) if self._pooled else self._of_frames(read))

    def _of_pooled(self, read: Tensor) -> Tensor:
        """Scores (W, C) of windows ([L,] W, P), or (1, C) of an utterance ([L,] P)."""
        rows = read.unsqueeze(0) if self._step is None else read.movedim(-2, 0)  # (W, [L,] P)
        scores: Tensor = self.head.of_pooled(rows)  # type: ignore[operator]
        return scores

    def _of_frames(self, read: Tensor) -> Tensor:
        """Scores (W, C) of windows of frames ([L,] T, D)."""
        import torch

        windows = read.split(self._step or read.shape[-2], dim=-2)
        return torch.cat([self.head(window.unsqueeze(0)) for window in windows])


class Scores:
    """Takes the features of each item, see `pipeline.Sink`, and writes rows of what a head makes of them.

    Args:
        scorer: makes scores of features.
        stream: takes the rows.
        suffix: `.jsonl` or `.csv`.
        plot: folder for a picture of each item's scores over time.
    """

    in_order = True

    def __init__(self, scorer: Scorer, stream: IO[str], suffix: str, plot: Path | None):
        self._scorer = scorer
        self._plot = plot
        self._labels = scorer.head.used_labels
        self._classes = scorer.head.config.task == "classes"
        self._row = _ROWS[suffix](stream, self._labels)

    def write(self, item: Utterance, encoded: EncodedAudio) -> None:
        """Score an utterance, or its windows, and write a row for each."""
        (array,) = encoded.features.values()
        scores = self._scorer(array.whole())
        begin = item.start or 0.0
        facts: dict[str, Any] = {"id": item.id, "file": str(item.audio)}
        known = {"speaker": item.speaker, "given_label": item.label}
        edges = self._edges(len(scores), encoded.seconds)
        for number, row in enumerate(scores):
            start, end = edges[number], edges[number + 1]
            times = {"start": round(begin + start, 6), "end": round(begin + end, 6)}
            if self._scorer.seconds is not None:
                times["window"] = round(end - start, 6)
            label = max(row, key=row.__getitem__) if self._classes else None
            self._row({**facts, **times, **known, "label": label, "scores": row})
        if self._plot is not None:
            self._draw(self._plot, item, scores, [begin + edge for edge in edges])

    def _edges(self, windows: int, seconds: float) -> list[float]:
        """Where windows begin, and where the last one ends: with the audio; in s from the item's start."""
        length = self._scorer.seconds or seconds
        return [number * length for number in range(windows)] + [seconds]

    def _draw(self, folder: Path, item: Utterance, scores: list[dict[str, float]], edges: list[float]) -> None:
        """Draw the scores of an item over time to `<plot>/<id>.png`."""
        from matplotlib.figure import Figure

        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{safe_name(item)}.png"
        SafeFolder(folder).make_parent(path, item)
        figure = Figure(figsize=(9, 3), layout="constrained")
        axes = figure.subplots()
        for label in self._labels:
            axes.stairs([row[label] for row in scores], edges, label=label, baseline=None)
        axes.set(xlabel="seconds", ylabel="probability", ylim=(0, 1), title=item.id)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        with complete_file(path) as partial:
            figure.savefig(partial, format="png")


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


_ROWS: dict[str, Callable[[IO[str], list[str]], Callable[[dict[str, Any]], None]]] = {
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
