"""Labels and scores of audio by a model that has a head: sources -> features -> head -> rows of results.

What needs torch is imported when options and sources are known to be right, as in `engine`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion2vec.assets import DEFAULT_MODEL
from emotion2vec.audio.frames import SAMPLE_RATE, WAVEFORM_GRID, FrameGrid
from emotion2vec.audio.windows import Chunking
from emotion2vec.corpora.faults import Fault
from emotion2vec.corpora.utterance import Listing, Utterance
from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.extraction.encode.workload import Workload
from emotion2vec.extraction.options import BatchOptions, PredictOptions, check_options
from emotion2vec.extraction.progress import shown_progress
from emotion2vec.extraction.results.outputs import Results, open_results, output_faults
from emotion2vec.extraction.results.rows import RowMaker, Rows
from emotion2vec.extraction.run import ExtractionReport, Job
from emotion2vec.extraction.scoring import (
    Held,
    Opinion,
    Opinions,
    Scorer,
    Taker,
    choose_labels,
    further_labels,
    read_by,
    together,
)
from emotion2vec.extraction.sources.named import AnySources, read_sources
from emotion2vec.progress import Progress, ProgressCallback
from emotion2vec.settings import from_keywords
from emotion2vec.tasks.adaptation import LEAST_CLIPS

if TYPE_CHECKING:
    from emotion2vec.model.heads import Head
    from emotion2vec.model.speech import SpeechEncoder

    AnyModel = str | Path | SpeechEncoder
    AnyModels = AnyModel | Sequence[AnyModel]

Shown = Callable[[int], AbstractContextManager[ProgressCallback | None]]
"""Gives what is to be called after each of so many items."""

EXPECTED = f"a model that was fine-tuned on labels, such as {DEFAULT_MODEL} or what `emotion2vec finetune` leaves"
"""What `predict` needs."""


def predict(
    source: AnySources,
    *,
    model: AnyModels = DEFAULT_MODEL,
    output: str | Path | None = None,
    progress: bool = False,
    on_progress: ProgressCallback | None = None,
    **options: Any,
) -> ExtractionReport:
    """Score everything that the sources list, one row per utterance or per window, in the order of the sources.

    Args:
        source: see `read_sources`.
        model: a model with a head, or what `load_model` takes; by default the one that ships with the package. Of
            several, with the same labels, probabilities are averaged.
        output: table, of the kind that its suffix says (`writers.spreadsheets`); None for JSON lines on stdout.
        progress: show a progress bar if stderr is a terminal.
        on_progress: called with a `Progress` after each clip; several models hear every clip in turn. What it raises
            ends the job and is raised here; the rows of what was heard are complete.
        options: see `PredictOptions`: `window` (in s, rounded to a multiple of 20 ms; None scores whole utterances),
            `adapt`, `abstain`, `classes`, `summary`, `excel`, `export`, `export_folder`, `plot`,
            `text_encoder`, `root`, `channel`, `segments`, `accept_damaged`, `columns`, `labels`, `precision`,
            `backend`, `device`.

    Raises:
        ConfigError: an argument is wrong, the model has no head, or the output cannot be written.
        ManifestError: the sources cannot be read.
        CheckpointError: the model cannot be loaded.
    """
    path = None if output is None else Path(output)
    return run(source, model, path, from_keywords(PredictOptions, options), progress=progress, on_progress=on_progress)


def run(
    source: AnySources,
    model: AnyModels,
    output: Path | None,
    options: PredictOptions,
    *,
    progress: bool = False,
    on_progress: ProgressCallback | None = None,
) -> ExtractionReport:
    """Do what `predict` does, with its options in one object."""
    check_options(faults_of(options) + output_faults(options, output))
    found = read_sources(source, **vars(options.sources))
    opened = partial(open_results, options, output)
    return score(found, model, options, opened, progress=progress, on_progress=on_progress)


class _RaisedError(KeyboardInterrupt):
    """A callback raised its cause: what is open is completed as after Ctrl-C."""


def _stopping(on_progress: ProgressCallback | None) -> ProgressCallback | None:
    """A callback whose errors complete what is open."""
    if on_progress is None:
        return None

    def call(progress: Progress) -> None:
        try:
            on_progress(progress)
        except Exception as error:
            raise _RaisedError from error

    return call


def score(
    found: Listing,
    model: AnyModels,
    options: PredictOptions,
    opened: Callable[[RowMaker, Sequence[Utterance]], AbstractContextManager[Results]],
    *,
    progress: bool = False,
    on_progress: ProgressCallback | None = None,
) -> ExtractionReport:
    """Score all that was found, and give the rows to what is opened for them; see `predict` for errors."""
    models = [model] if isinstance(model, str | Path) or not isinstance(model, Sequence) else list(model)
    if not models:
        raise ConfigError("model is empty, expected at least one")
    if options.adapt and options.window is None and len(found.utterances) < LEAST_CLIPS:
        raise ConfigError(
            f"adapt needs at least {LEAST_CLIPS} clips, of mixed emotions, and there are {len(found.utterances)}"
        )
    loaded = [_with_head(one, options) for one in models]
    if options.text_encoder and not any(head.reads_text for _, _, head in loaded):
        raise ConfigError(f"text_encoder is {options.text_encoder}, and no model reads texts, expected none")
    labels = choose_labels([(name, head) for name, _, head in loaded], options.classes)
    values = _of_values([head for _, _, head in loaded], options)
    heads = [one.heads() for _, one, _ in loaded]
    further = further_labels(heads)
    of_values = [name for name in further if heads[0][name].config.task == "values"]
    maker = RowMaker({"": labels, **further}, options.abstain, [""] * values + of_values)
    shown = partial(shown_progress, bar=progress, on_progress=_stopping(on_progress))
    try:
        with opened(maker, found.utterances) as results:
            take = _Writing(maker, results.rows)
            if len(loaded) == 1 and not options.adapt:
                report = _hear(loaded[0][1], maker.labels, found, options, take, shown)
            else:
                report = _together([one for _, one, _ in loaded], maker.labels, found, options, take, shown)
    except _RaisedError as stopped:
        assert stopped.__cause__ is not None
        raise stopped.__cause__ from None
    report.failed += results.faults
    return report


def _together(
    models: Sequence[SpeechEncoder],
    labels: Mapping[str, Sequence[str]],
    found: Listing,
    options: PredictOptions,
    take: Taker,
    shown: Shown,
) -> ExtractionReport:
    """Let models hear all items, and pass on what they think together, adapted to the items if that is asked for."""
    held = [Held() for _ in models]
    reports = [_hear(one, labels, found, options, kept, shown) for one, kept in zip(models, held, strict=True)]
    opinions = together([one.found for one in held], labels[""], adapt=options.adapt)
    heard = [item for item in found.utterances if id(item) in opinions]
    faults = [fault for item in heard if (fault := _write(take, item, opinions[id(item)])) is not None]
    return _joined(reports, faults, len(heard) - len(faults))


class _Writing:
    """Makes rows of what is thought of a clip, and gives them to all that is written."""

    def __init__(self, maker: RowMaker, written: Sequence[Rows]):
        self._maker, self._written = maker, written

    def __call__(self, item: Utterance, opinion: Opinion) -> None:
        """See `Taker`."""
        rows = self._maker.rows_of(item, opinion)
        for one in self._written:
            one.add(item, rows)


def _of_values(heads: Sequence[Head], options: PredictOptions) -> bool:
    """Whether heads give values.

    Raises:
        ConfigError: some do and some do not, or what only classes have is asked for.
    """
    tasks = {head.config.task for head in heads}
    if len(tasks) > 1:
        raise ConfigError("some models predict classes and some values, expected models of one kind")
    asked = {"adapt": options.adapt, "abstain": options.abstain is not None, "classes": options.classes}
    if "values" in tasks and (wanted := [name for name, given in asked.items() if given]):
        raise ConfigError(f"{' and '.join(wanted)} is for classes, and the model predicts values")
    return "values" in tasks


def _with_head(model: str | Path | SpeechEncoder, options: PredictOptions) -> tuple[str, SpeechEncoder, Head]:
    """A model's name, the model, and its head.

    Raises:
        ConfigError: it has none.
    """
    from emotion2vec.devices import choose_device
    from emotion2vec.extraction.encode.ready import check_model, opened

    check_model(model)
    name = f"model {model}" if isinstance(model, str | Path) else "the model"
    if isinstance(model, str | Path):
        model = opened(model, str(choose_device(options.compute.device)))
    if model.head is None:
        raise ConfigError(f"{name} has no head, expected {EXPECTED}")
    return name, model, model.head


def _hear(
    model: SpeechEncoder,
    labels: Mapping[str, Sequence[str]],
    found: Listing,
    options: PredictOptions,
    take: Taker,
    shown: Shown,
) -> ExtractionReport:
    """Let a model hear all items, and pass on what its heads think of them, in labels by their targets."""
    from emotion2vec.extraction.encode.encoder import Encoder
    from emotion2vec.extraction.executor import local_executor, report_of

    window, heads = options.window, model.heads()
    step = None if window is None else max(1, _frames_of(window, model.config.grid))
    choice = read_by([heads[name] for name in labels], model.config.width, step)
    texts = None
    if heads[""].reads_text and any(item.text for item in found.utterances):
        from emotion2vec.checkpoint.text import Texts

        texts = Texts.of_head(heads[""].config, str(model.device), options.text_encoder)
    workload = Workload.of(choice, [item.duration for item in found.utterances])
    with local_executor(model, BatchOptions(**vars(options.compute)), workload) as executor:
        encoder = Encoder(
            executor.model, choice, precision=executor.precision, chunking=Chunking(), graph=executor.graph
        )
        opinions = Opinions(Scorer(executor.model, choice, step, labels, texts), take)
        job = Job(report_of(executor))
        job.begin(found)
        with shown(len(found.utterances)) as callback:
            job.run(executor.outcomes(found.utterances, encoder, opinions, None), found.utterances, callback)
    return job.report


def _write(take: Taker, item: Utterance, opinion: Opinion) -> Fault | None:
    """Write what is thought of an item, or say why it cannot be written."""
    try:
        take(item, opinion)
    except BrokenPipeError:
        raise
    except (OSError, ManifestError, ValueError) as error:
        return Fault(item.where, f"its scores cannot be written: {getattr(error, 'strerror', None) or error}")
    return None


def _joined(reports: list[ExtractionReport], faults: list[Fault], written: int) -> ExtractionReport:
    """One report of what several models heard: what one of them could not hear was not written."""
    failed = dict.fromkeys([fault for report in reports for fault in report.failed] + faults)
    terminated = any(report.terminated for report in reports)
    return replace(reports[0], written=written, failed=list(failed), terminated=terminated)


def faults_of(options: PredictOptions) -> list[str]:
    """What is wrong with the options, whatever the model, the sources and the output."""
    faults, window = options.compute.faults() + options.compute.backend_faults(), options.window
    if window is not None and not (math.isfinite(window) and _frames_of(window, WAVEFORM_GRID) >= 1):
        faults.append(f"window is {window!r}, expected at least 0.02 s")
    if options.abstain is not None and not 0 < options.abstain < 1:
        faults.append(f"abstain is {options.abstain!r}, expected a probability above 0 and below 1")
    return faults


def _frames_of(window: float, grid: FrameGrid) -> int:
    """Frames in a window of so many s."""
    return round(window * SAMPLE_RATE / grid.stride)
