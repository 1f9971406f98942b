"""`--dry-run`: what a verb would do, by a second of its real work in a temporary folder; where it would write, nothing.

Sources, settings and models are read as by the verb itself, so that mistakes are the same errors.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from emotion2vec.cli.log import say
from emotion2vec.cli.rehearsal import (
    EnoughError,
    Stopwatch,
    check_place,
    elsewhere,
    files_in_words,
    models_in_words,
    rehearse,
    size_of,
    tell,
    whole,
)
from emotion2vec.environment import variables
from emotion2vec.progress import Progress
from emotion2vec.units import counted, duration

HELP = "Say what would be done, how long it would take and how much be written, and write nothing."


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
    name = output.name if names_a_file(output, options.format) else ""
    watch, size = rehearse(lambda folder, watch: run(found, model, folder / name, tried, on_progress=watch))
    total = len(found.utterances)
    tell(
        "extract",
        watch,
        what=files_in_words(found.utterances),
        total=total,
        output=output,
        size=whole(size, watch, total),
        model=models_in_words(model),
        format=options.format,
    )


def predict(source: Any, model: Any, output: Path | None, options: Any) -> None:
    """What `predict` would do; raises what it would raise."""
    from emotion2vec.extraction.options import check_options
    from emotion2vec.extraction.predict import faults_of, run
    from emotion2vec.extraction.results.outputs import output_faults, summary_path
    from emotion2vec.extraction.results.timelines import pictures
    from emotion2vec.extraction.sources.named import read_sources
    from emotion2vec.extraction.sources.options import SourceOptions
    from emotion2vec.files import check_folder_name

    check_options(faults_of(options) + output_faults(options, output))
    found = read_sources(source, **vars(options.sources))
    if options.plot is not None:
        pictures.check_output(options.plot, "plot")
    if options.export:
        check_folder_name(options.export_folder, "export_folder", "a file for each recording")
    summary = None if options.summary is None else summary_path(options.summary, output)
    places = {"output": output, "summary": summary, "plot": options.plot}
    places |= {"export_folder": options.export_folder} if options.export else {}
    for what, place in places.items():
        if place is not None:
            check_place(place, what)
    compute = replace(options.compute, backend="torch")
    tried = replace(options, sources=SourceOptions(), compute=compute, summary=None, export=(), plot=None)
    name = "rows.jsonl" if output is None else f"rows{output.suffix}"
    watch, size = rehearse(lambda folder, watch: run(found, model, folder / name, tried, on_progress=watch))
    total = len(found.utterances) * (1 if isinstance(model, str | Path) else len(model))
    tell(
        "predict",
        watch,
        what=files_in_words(found.utterances),
        total=total,
        output=output,
        size=whole(size, watch, total),
        model=models_in_words(model),
    )


def _import_lhotse() -> None:
    """Import Lhotse, which makes a folder in the user's home when it is imported, with another home."""
    with tempfile.TemporaryDirectory() as home, variables(HOME=home):
        import lhotse  # noqa: F401


def prepare(options: Any) -> None:
    """What `prepare` would do; raises what it would raise."""
    _import_lhotse()
    from emotion2vec.data.prepare import prepare as run
    from emotion2vec.data.prepare import read_plan

    utterances = read_plan(options).utterances
    check_place(Path(options.output), "output")
    watch, size = rehearse(lambda folder, watch: run(**{**vars(options), "output": str(folder)}, on_progress=watch))
    total = len(utterances)
    tell(
        "prepare",
        watch,
        what=files_in_words(utterances),
        total=total,
        output=options.output,
        size=whole(size, watch, total),
    )


def train(verb: str, config: Any, home: str = "") -> None:
    """What a training would do; raises what it would raise.

    Args:
        verb: `pretrain`, `distil` or `finetune`.
        config: a checked configuration.
        home: the package that has it, where that has another name.
    """
    _import_lhotse()
    run = getattr(import_module(f"emotion2vec.{home or verb}.run"), verb)
    from emotion2vec.checkpoint.native import newest_checkpoint
    from emotion2vec.files import check_folder_name
    from emotion2vec.training.run_folder import CHECKPOINTS, RunFolder

    there = RunFolder(config)
    check_folder_name(there.path, "run.dir", "a run")
    check_place(there.path, "run.dir")
    newest = newest_checkpoint(there.path)
    before = 0
    if newest is not None:
        if verb == "finetune":
            from emotion2vec.finetune.result import check_same

            check_same(config)
        else:
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
