"""A whole search: trials, each a fine-tuning run of its own, judged by held-out speakers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from emotion2vec.corpora.utterance import Corpus
from emotion2vec.disk import quoted
from emotion2vec.errors import ConfigError, Emotion2vecError, TrainingError
from emotion2vec.files import write_text
from emotion2vec.finetune.config import FinetuneConfig
from emotion2vec.finetune.fitting import fit
from emotion2vec.finetune.kept import KeptRows
from emotion2vec.finetune.labelled import read_labelled, show_labels
from emotion2vec.finetune.search.plan import SearchPlan, fixed_part
from emotion2vec.finetune.search.space import Space, with_values
from emotion2vec.finetune.search.study import STUDY, Study
from emotion2vec.finetune.search.trial import Row, Trial
from emotion2vec.finetune.splits import Split, whole_split
from emotion2vec.settings import to_yaml
from emotion2vec.training.run import Say
from emotion2vec.training.run_folder import CHECKPOINTS, RunFolder
from emotion2vec.training.trainer import FitResult

BEST = "best.yaml"
"""The best configuration so far, in the folder of a search."""


class PrunedError(Exception):
    """A trial is not worth going on with; the search catches it."""


@dataclass(frozen=True)
class Searched:
    """How a search ended here.

    Attributes:
        rows: all trials, of other processes too.
        best: the best of those that are done; None before any is.
        result: of the trial that was interrupted, None where none was.
    """

    rows: list[Row]
    best: Row | None
    result: FitResult | None = None


def search(plan: SearchPlan, space: Space, say: Callable[[str], None] = print) -> Searched:
    """Run trials until there are as many as asked for; the same command goes on where it was interrupted.

    Args:
        plan: a checked plan (`emotion2vec.finetune.search.plan.load_plan`).
        space: what is tried (`emotion2vec.finetune.search.space.read_space`).
        say: shows a line of text to the user.

    Raises:
        ConfigError: Optuna is missing, another search is in `run.dir`, or as for `emotion2vec.finetune.run.finetune`.
        TrainingError: no trial could be trained to its end.
        OSError: the disk does not take the record of the search, or what a trial writes.
    """
    base = fixed_part(plan)
    corpus = read_labelled(base.data, base.joint)
    show_labels(corpus, say)
    with _naming_study(Path(plan.run.dir) / STUDY):
        study, tell = Study(plan, space), say
        clips = _Clips(corpus, whole_split(base, corpus))
        say(_judged_by(clips.split))
        while trial := study.next():
            say(f"trial {trial.number} of {plan.trials}: {shown(trial.values)}")
            try:
                result = _run(study, trial, base, clips, tell)
            finally:
                trial.leave()
            if result is not None and result.signal is not None:
                study.stopped(trial)
                return Searched(study.rows(), study.best(), result)
            _report(study, trial, base, say)
            tell = _silent  # what one trial has said of data and model holds for all
        rows, best = study.rows(), study.best()
        if best is None and not any(row.state == "running" for row in rows):
            reasons = [row.why for row in rows if row.why]
            raise TrainingError(
                f"none of {len(rows)} trials came to its end; the last one failed: {''.join(reasons[-1:])}"
            )
        return Searched(rows, best)


@contextmanager
def _naming_study(path: Path) -> Iterator[None]:
    """Have faults of the disk that Optuna's database quotes be OSErrors that name it; all others stay as they are."""
    try:
        yield
    except (OSError, Emotion2vecError):
        raise
    except Exception as error:
        number = quoted(error)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def shown(values: Mapping[str, Any]) -> str:
    """Settings in words."""
    return " ".join(f"{key}={brief(value)}" for key, value in values.items())


def brief(value: Any) -> str:
    """A value as text, of a fraction the first digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class _Clips:
    """Labelled clips, which of them train and choose, and what frozen blocks say of them, the same for all trials."""

    corpus: Corpus
    split: Split
    rows: KeptRows = field(default_factory=KeptRows)


def _judged_by(split: Split) -> str:
    who = f"held-out speakers {', '.join(split.held)}" if split.held else "held-out clips of speakers who train too"
    return (
        f"trials are judged by validation on {who}, and no other clip is tested; since these choose the settings, a "
        "score of the result needs clips of other speakers"
    )


def _run(study: Study, trial: Trial, base: FinetuneConfig, clips: _Clips, say: Say) -> FitResult | None:
    """Train a trial and note how it ended; None where it was not trained to its end."""
    faults: list[str] = []
    config = with_values(base, trial.values, faults)
    if faults:
        study.failed(trial, "; ".join(faults))
        return None
    run, validation = replace(config.run, dir=str(trial.folder)), replace(config.validation, refit=False)
    config = replace(config, run=run, validation=validation)

    def watch(update: int, score: float) -> None:
        if not trial.stays(update, score):
            raise PrunedError

    try:
        for update, score in sorted(RunFolder(config).scores().items()):  # of a run that is taken up
            watch(update, score)
        result = fit(config, clips.corpus, clips.split, say=say, rows=clips.rows, watch=watch)
    except PrunedError:
        study.pruned(trial)
        return None
    except (TrainingError, ConfigError, torch.OutOfMemoryError) as error:
        if quoted(error) or (isinstance(error, ConfigError) and study.best() is None):
            raise  # not these settings, but the disk, or all of them
        study.failed(trial, str(error).partition("\n")[0])
        return None
    if result.signal is None:
        study.done(trial, max(RunFolder(config).scores().values()))
    return result


def _report(study: Study, trial: Trial, base: FinetuneConfig, say: Say) -> None:
    """Say how a trial ended, keep the best configuration, and remove what only a restart of the trial needs."""
    shutil.rmtree(trial.folder / CHECKPOINTS, ignore_errors=True)
    rows, best = study.rows(), study.best()
    (row,) = [row for row in rows if row.number == trial.number]
    value = "" if row.value is None else f", validation score {row.value:.4g}"
    rest = "" if best is None else f" (best so far: trial {best.number}, {best.value:.4g})"
    say(f"trial {row.number} {row.state}{value}{rest}{f': {row.why}' if row.why else ''}")
    if best is not None:
        _write_best(best, base)


def _write_best(best: Row, base: FinetuneConfig) -> None:
    """Write the configuration of the best trial."""
    path = Path(base.run.dir) / BEST
    config = with_values(base, best.values, [])
    config = replace(config, run=replace(config.run, dir=""))
    told = f"# Of trial {best.number}, whose validation score was {best.value:.4g} on the speakers that chose it.\n"
    use = f"#   emotion2vec finetune --config {path} run.dir=FOLDER\n"
    write_text(path, told + use + to_yaml(config))


def _silent(text: str) -> None:
    """Say nothing."""
