"""From a list of audio to features on disk: manifest -> decode -> batch -> model -> writer.

D: model width. T: frames. L: layers.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from emotion2vec.data.manifests import Fault, Manifest, Utterance, load_utterance, read_manifest
from emotion2vec.errors import ManifestError
from emotion2vec.extraction.clips import Clip, Source
from emotion2vec.extraction.encoder import EncodedClip, Encoder, Layers
from emotion2vec.extraction.models import ready_model
from emotion2vec.extraction.pipeline import check_options, option_faults, ready_batches
from emotion2vec.extraction.progress import Progress, ProgressCallback, progress_bar
from emotion2vec.extraction.writers import FORMATS, Writer, open_writer
from emotion2vec.model.encoder import Emotion2vec

GRANULARITIES = ("frame", "utterance")
"""One vector per 20 ms, or their mean over time."""


@dataclass
class ExtractionReport:
    """What became of a list of audio.

    Attributes:
        written: utterances whose features were written.
        skipped: utterances whose features were there already.
        seconds: audio of the written utterances, in s.
        frames: frames of the written utterances.
        failed: everything that could not be extracted, with the reason.
    """

    written: int = 0
    skipped: int = 0
    seconds: float = 0.0
    frames: int = 0
    failed: list[Fault] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """What a command should exit with: 0 all done, 1 some inputs failed, 2 nothing could be extracted."""
        if not self.failed:
            return 0
        return 1 if self.written + self.skipped else 2


def extract(
    source: str | Path | Manifest,
    *,
    model: str | Path | Emotion2vec,
    output: str | Path,
    root: Path | None = None,
    granularity: str = "frame",
    layers: Layers = "last",
    format: str = "npy",
    precision: str = "fp32",
    device: str | None = None,
    batch_seconds: float | None = None,
    workers: int | None = None,
    resume: bool = False,
    progress: bool | ProgressCallback = False,
) -> ExtractionReport:
    """Extract features of every utterance that a source lists, and write them.

    A bad file or line is reported and the others are done. After an interrupt, what was written is complete.

    Args:
        source: what `read_manifest` takes (a file, a folder, a manifest's path), or a manifest.
        model: a model, or what `load_model` takes.
        output: folder for `<id>.npy`; for the format npz, the archive if it ends in `.npz`, else its folder.
        root: folder that relative paths in a manifest start from; by default the manifest's own.
        granularity: `frame` for (T, D), 50 vectors per second, or `utterance` for their mean, (D,).
        layers: `last`, `all`, the number of a block from 0 (prenet first), or several; `all` and several put a
            dimension L in front.
        format: `npy` or `npz`.
        precision: `fp32`, `bf16` or `fp16` to compute in; features are float32.
        device: `cpu`, `cuda`, `cuda:1`, ..., or `auto`; None means `auto`, or where a given model is.
        batch_seconds: most audio in a batch, in s; None for the device's default.
        workers: threads that decode; None for one per processor, at most 8.
        resume: keep the features in the output that are complete and of the right shape, and do the rest; they are
            trusted to be the same model's. Otherwise everything is extracted anew, and files are replaced.
        progress: show a progress bar if stderr is a terminal, or call this after each utterance.

    Raises:
        ConfigError: an argument is wrong, or nothing more can be written to the output.
        ManifestError: the source cannot be read or has no usable entry.
        CheckpointError: the model cannot be loaded.
    """
    faults = option_faults(precision=precision, batch_seconds=batch_seconds, workers=workers)
    for name, value, choices in (("granularity", granularity, GRANULARITIES), ("format", format, FORMATS)):
        if value not in choices:
            faults.append(f"{name} is {value!r}, expected {' or '.join(choices)}")
    check_options(faults)
    manifest = source if isinstance(source, Manifest) else read_manifest(source, root=root)
    report = ExtractionReport(failed=list(manifest.faults))
    with ready_model(model, device) as ready:
        encoder = Encoder(ready, layers=layers, pooled=granularity == "utterance", precision=precision)
        with closing(open_writer(format, output, resume=resume)) as writer:
            todo = _plan(manifest.utterances, writer, encoder.shape if resume else None, report)
            sources = (Source(index, str(u.audio), partial(load_utterance, u)) for index, u in enumerate(todo))
            batches = ready_batches(sources, ready, batch_seconds=batch_seconds, workers=workers)
            with progress_bar(len(todo)) if progress is True else nullcontext(progress or None) as callback:
                _run(batches, todo, encoder, writer, report, callback)
    return report


def _plan(
    utterances: Iterable[Utterance], writer: Writer, shape: tuple[int | None, ...] | None, report: ExtractionReport
) -> list[Utterance]:
    """Choose what to extract; unsafe and colliding ids are faults, and with a shape what is there is skipped."""
    todo: list[Utterance] = []
    taken: dict[str, Utterance] = {}
    for utterance in utterances:
        try:
            target = writer.target(utterance)
        except ManifestError as error:
            report.failed.append(Fault(str(utterance.audio), str(error)))
            continue
        other = taken.setdefault(target, utterance)
        if other is not utterance:
            report.failed.append(Fault(str(utterance.audio), f"would overwrite {target}, the output of {other.audio}"))
        elif shape is not None and writer.has(utterance, shape):
            report.skipped += 1
        else:
            todo.append(utterance)
    return todo


def _run(
    batches: Generator[list[Clip] | Fault, None, None],
    todo: list[Utterance],
    encoder: Encoder,
    writer: Writer,
    report: ExtractionReport,
    callback: ProgressCallback | None,
) -> None:
    """Encode and write each batch; every utterance ends as written or failed."""
    started, faults_before = time.monotonic(), len(report.failed)
    with closing(batches):
        for batch in batches:
            for outcome in [batch] if isinstance(batch, Fault) else encoder.encode_safely(batch):
                fault = outcome if isinstance(outcome, Fault) else _write(outcome, todo, encoder, writer, report)
                if fault is not None:
                    report.failed.append(fault)
                if callback is not None:
                    failed = len(report.failed) - faults_before
                    elapsed = time.monotonic() - started
                    callback(Progress(failed + report.written, len(todo), failed, report.seconds, elapsed))


def _write(
    encoded: EncodedClip, todo: list[Utterance], encoder: Encoder, writer: Writer, report: ExtractionReport
) -> Fault | None:
    """Write one clip's features and count it, or say why not."""
    clip = encoded.clip
    try:
        writer.write(todo[clip.index], encoded.features)
    except (OSError, ManifestError) as error:
        return Fault(clip.where, f"its features cannot be written: {getattr(error, 'strerror', None) or error}")
    report.written += 1
    report.seconds += clip.seconds
    report.frames += encoder.frames(clip)
    return None
