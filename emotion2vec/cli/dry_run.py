"""`--dry-run`: what a verb would do, by a second of its real work in a temporary folder; where it would write, nothing.

Sources, settings and models are read as by the verb itself, so that mistakes are the same errors.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion2vec.cli.log import say
from emotion2vec.errors import AudioError, ConfigError
from emotion2vec.progress import Progress
from emotion2vec.units import counted, duration

if TYPE_CHECKING:
    from emotion2vec.corpora.utterance import Utterance

HELP = "Say what would be done, how long it would take and how much be written, and write nothing."
ENOUGH_SECONDS = 1.0
"""Work that is measured, in s, after what came first, which is slower."""
MOST_HEADERS = 200
"""Files whose lengths are looked at; of more, the others are taken to be like them."""


class EnoughError(Exception):
    """A second of work was measured."""


class Stopwatch:
    """Called back by a job: ends it when its speed is known.

    Attributes:
        first: where it stood when it was called first, and when, in s.
        last: the same of the last call.
    """

    def __init__(self) -> None:
        self.first: tuple[Progress, float] | None = None
        self.last: tuple[Progress, float] | None = None

    def __call__(self, progress: Progress) -> None:
        """Note where the job stands."""
        now = time.monotonic()
        self.first, self.last = self.first or (progress, now), (progress, now)
        if now - self.first[1] >= ENOUGH_SECONDS and progress.done > self.first[0].done:
            raise EnoughError

    @property
    def done(self) -> int:
        """How many items were done."""
        return self.last[0].done if self.last else 0

    def each(self) -> float | None:
        """Seconds for an item, without the first ones where enough follow; None where nothing was done."""
        if self.first is None or self.last is None or not self.done:
            return None
        (before, begun), (after, ended) = self.first, self.last
        if ended - begun >= ENOUGH_SECONDS:
            return (ended - begun) / (after.done - before.done)
        return after.elapsed / after.done


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Set variables of the environment, and put back what was there."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextmanager
def elsewhere() -> Iterator[Path]:
    """A temporary folder, which what is remembered of the machine goes to as well; enough work ends what is in it."""
    from emotion2vec.hardware import CACHE_VARIABLE

    with tempfile.TemporaryDirectory(prefix="emotion2vec-dry-run-") as name:
        kept = {CACHE_VARIABLE: f"{name}/cache", "MPLCONFIGDIR": f"{name}/matplotlib"}
        with environment(**kept), suppress(EnoughError):
            yield Path(name) / "work"


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def check_place(path: Path, what: str) -> None:
    """See to it that something can be written at a path, as far as can be told without writing.

    Raises:
        ConfigError: it cannot.
    """
    there = next(parent for parent in [path, *path.absolute().parents] if parent.exists())
    if there != path and not there.is_dir():
        raise ConfigError(f"{what} {path}: {there} is a file, expected a folder")
    if not os.access(there, os.W_OK):
        raise ConfigError(f"{what} {path}: no permission to write to {there}")


def audio_seconds(items: Sequence[Utterance]) -> float | None:
    """About how much audio there is, in s, by the headers of some; None where none says."""
    from emotion2vec.audio.decode.reading import read_header

    found = []
    for item in items[:: max(1, len(items) // MOST_HEADERS)]:
        seconds = item.duration
        if seconds is None and isinstance(item.audio, Path):
            try:
                header = read_header(item.audio, item.where, thorough=False)
            except AudioError:
                continue
            seconds = header.samples / header.rate - (item.start or 0.0)
        if seconds is not None:
            found.append(seconds)
    return sum(found) / len(found) * len(items) if found else None


def tell(
    verb: str, watch: Stopwatch, *, what: str, total: int, output: object, size: float | None, **facts: Any
) -> None:
    """Say what would be done.

    Args:
        verb: what does it.
        watch: what was measured.
        what: what there is to do, in words.
        total: items or updates to do.
        output: where to; None for stdout.
        size: bytes that would be written; None where nothing is known.
        **facts: further ones, said by their names.
    """
    each = watch.each()
    seconds = None if each is None else each * total
    say(f"dry run of {verb}: nothing is written", event="dry_run")
    say(what, event="inputs", total=total)
    for name, value in facts.items():
        say(f"{name}: {value}", event=name)
    amount = "" if size is None else f", about {size / 1e9:.3g} GB"
    where = "stdout" if output is None else str(output)
    say(f"output: {where}{amount}", event="output", output=where, bytes=None if size is None else round(size))
    if seconds is None:
        say("time: not known, nothing of what was tried could be done", event="time", seconds=None)
    else:
        measured = f"about {duration(seconds)}, by {watch.done} of {total} here"
        say(f"time: {measured}", event="time", seconds=seconds, measured=watch.done)


def files_in_words(items: Sequence[Utterance], seconds: float | None) -> str:
    """How many there are, and how long they are."""
    audio = "of unknown length" if seconds is None else f"about {duration(seconds)} of audio"
    return f"inputs: {counted(len(items), 'utterance')}, {audio}"


def models_in_words(model: Any) -> str:
    """Names of models."""
    return ", ".join(map(str, [model] if isinstance(model, str | Path) else model))


def extract(source: Any, model: Any, output: Path, options: Any) -> None:
    """What `extract` would do; raises what it would raise."""
    from emotion2vec.extraction.engine import run
    from emotion2vec.extraction.options import check_options
    from emotion2vec.extraction.sources.named import read_sources
    from emotion2vec.extraction.sources.options import SourceOptions
    from emotion2vec.extraction.writers import check_output, names_a_file

    check_options(options.faults())
    found = read_sources(source, **vars(options.sources), shard=options.shard, workers=options.executor.workers)
    check_place(check_output(options.format, output), "output")
    executor = replace(options.executor, engine="local", backend="torch", ray_address=None, actors=None)
    tried = replace(options, sources=SourceOptions(), shard=None, resume=False, executor=executor)
    watch, seconds = Stopwatch(), audio_seconds(found.utterances)
    with elsewhere() as folder:
        target = folder / output.name if names_a_file(output, options.format) else folder
        try:
            run(found, model, target, tried, on_progress=watch)
        finally:
            size = size_of(folder) if folder.exists() else 0
    total = len(found.utterances)
    bytes_ = size / watch.done * total if watch.done else None
    tell(
        "extract",
        watch,
        what=files_in_words(found.utterances, seconds),
        total=total,
        output=output,
        size=bytes_,
        model=models_in_words(model),
        format=options.format,
    )


def predict(source: Any, model: Any, output: Path | None, options: Any) -> None:
    """What `predict` would do; raises what it would raise."""
    from emotion2vec.extraction.options import check_options
    from emotion2vec.extraction.predict import faults_of, run
    from emotion2vec.extraction.results.outputs import output_faults
    from emotion2vec.extraction.sources.named import read_sources
    from emotion2vec.extraction.sources.options import SourceOptions

    check_options(faults_of(options) + output_faults(options, output))
    found = read_sources(source, **vars(options.sources))
    if output is not None:
        check_place(output, "output")
    compute = replace(options.compute, backend="torch")
    tried = replace(options, sources=SourceOptions(), compute=compute, summary=None, export=(), plot=None)
    watch, seconds = Stopwatch(), audio_seconds(found.utterances)
    with elsewhere() as folder:
        folder.mkdir()
        target = folder / ("rows.jsonl" if output is None else f"rows{output.suffix}")
        try:
            run(found, model, target, tried, on_progress=watch)
        finally:
            size = size_of(folder)
    total = len(found.utterances) * (1 if isinstance(model, str | Path) else len(model))
    tell(
        "predict",
        watch,
        what=files_in_words(found.utterances, seconds),
        total=total,
        output=output,
        size=size / watch.done * total if watch.done else None,
        model=models_in_words(model),
    )


def _import_lhotse() -> None:
    """Import Lhotse, which makes a folder in the user's home when it is imported, with another home."""
    with tempfile.TemporaryDirectory() as home, environment(HOME=home):
        import lhotse  # noqa: F401


def prepare(options: Any) -> None:
    """What `prepare` would do; raises what it would raise."""
    _import_lhotse()
    from emotion2vec.data.prepare import prepare as run
    from emotion2vec.data.prepare import read_plan

    utterances = read_plan(options.source, options.output, options).utterances
    check_place(Path(options.output), "output")
    watch, seconds = Stopwatch(), audio_seconds(utterances)
    with elsewhere() as folder:
        try:
            run(**{**vars(options), "output": str(folder)}, on_progress=watch)
        finally:
            size = size_of(folder) if folder.exists() else 0
    total = len(utterances)
    tell(
        "prepare",
        watch,
        what=files_in_words(utterances, seconds),
        total=total,
        output=options.output,
        size=size / watch.done * total if watch.done else None,
    )


def train(verb: str, config: Any) -> None:
    """What a training would do; raises what it would raise.

    Args:
        verb: `pretrain`, `distil` or `finetune`.
        config: a checked configuration.
    """
    _import_lhotse()
    run = getattr(import_module(f"emotion2vec.{verb}.run"), verb)
    from emotion2vec.checkpoint.native import newest_checkpoint
    from emotion2vec.files import check_folder_name
    from emotion2vec.training.run_folder import CHECKPOINTS, RunFolder

    there = RunFolder(config)
    check_folder_name(there.path, "run.dir", "a run")
    check_place(there.path, "run.dir")
    newest = newest_checkpoint(there.path)
    before = 0
    if newest is not None:
        there.same_run_notes()
        before = int(newest.name.removeprefix("update_"))
    watch = Stopwatch()
    with elsewhere() as folder:
        settings = replace(config.run, dir=str(folder), devices=1, nodes=1)
        log = replace(config.log, progress=False, tensorboard=False, wandb=False)
        tried = replace(config, run=settings, log=log, probe=replace(config.probe, every=0))
        try:
            run(tried, say=_quiet, on_progress=watch)
        finally:
            kept = [size_of(one) for one in folder.rglob("update_*") if one.parent.name == CHECKPOINTS]
    total = (watch.last[0].total if watch.last else config.optim.max_updates) - before
    each = max(kept, default=0) * (config.checkpoint.keep_last + 1)
    audio = watch.last[0].seconds / max(watch.done, 1) * total if watch.last else None
    heard = "" if audio is None else f" of about {duration(audio)} of audio together"
    tell(
        verb,
        watch,
        what=f"inputs: {counted(max(total, 0), 'update')}{heard}, on one device, for each model",
        total=max(total, 0),
        output=config.run.dir,
        size=each or None,
    )


def probe(options: Any) -> None:
    """What `probe` would do; raises what it would raise."""
    from emotion2vec.files import check_file_name, check_folder_name
    from emotion2vec.probe.run import run_probe

    if options.save_model is not None:
        check_folder_name(options.save_model, "save_model", "a model")
    for what, path, endings in (("output", options.output, [".json"]), ("cache", options.cache, None)):
        if path is not None:
            check_place(Path(path), what)
            if endings:
                check_file_name(path, what, endings)
    watch = _Features()
    with elsewhere():
        run_probe(replace(options, output=None, cache=None, on_progress=watch))
    total = watch.last[0].total if watch.last else 0
    tell(
        "probe",
        watch,
        what=f"inputs: features of {counted(total, 'clip')}; heads come on top",
        total=total,
        output=options.output,
        size=None,
        model=models_in_words([*options.features, *([options.model] if options.model else [])] or ["compact"]),
    )


class _Features(Stopwatch):
    """Ends a probe before a head is trained."""

    def __call__(self, progress: Progress) -> None:
        """See `Stopwatch`."""
        super().__call__(progress)
        if progress.done >= progress.total:
            raise EnoughError


def _quiet(text: str) -> None:
    """Pass on what a user should know, and nothing of the temporary folder."""
    if text.startswith("warning: "):
        say(text)
