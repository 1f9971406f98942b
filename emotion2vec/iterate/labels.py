"""What models say of the pool, each clip once for each model, in folders that interrupted jobs go on with.

N: clips. K: classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from emotion2vec.corpora.faults import Fault
from emotion2vec.corpora.utterance import Listing
from emotion2vec.errors import ManifestError
from emotion2vec.extraction.labelling import Labelling, Said, label, read_said
from emotion2vec.extraction.progress import shown_progress
from emotion2vec.iterate.config import IteratePlan, executor_of
from emotion2vec.iterate.filters import NO_CLASS, Opinions
from emotion2vec.iterate.pool import Pool
from emotion2vec.progress import ProgressCallback
from emotion2vec.stopping import Terminated
from emotion2vec.units import counted, duration

Say = Callable[[str], None]


def label_pool(
    plan: IteratePlan,
    pool: Pool,
    model: str | Path,
    folder: Path,
    *,
    classes: Sequence[str],
    window: float | None,
    say: Say,
    on_progress: ProgressCallback | None,
) -> list[Fault]:
    """Have a model say what the clips of a pool are, those that are missing in the folder.

    Args:
        plan: of the iterations.
        pool: speech without labels, in shards.
        model: with a head that has the classes.
        folder: of what it says.
        classes: K.
        window: length of windows that are scored too, in s; None for none.
        say: shows a line of text to the user.
        on_progress: called with a `Progress` after each clip.

    Returns:
        Clips that could not be heard.

    Raises:
        ConfigError: see `emotion2vec.extraction.labelling.label`.
        Terminated: SIGTERM came; what was said is kept.
    """
    count = len(pool.shards)
    faults: list[Fault] = []
    for number, clips in enumerate(pool.shards):
        shard = f"{number}/{count}" if count > 1 else None
        own = Listing(list(clips), [])
        asked = Labelling(classes=classes, window=window, shard=shard, executor=executor_of(plan))
        if own.utterances:
            shown = partial(shown_progress, bar=plan.log.progress, on_progress=on_progress)
            report = label(own, model, folder, asked, shown)
            if report.terminated:
                raise Terminated
            faults += report.failed
            there = f", {report.skipped} were there" * bool(report.skipped)
            part = f" of shard {shard}" * (shard is not None)
            say(f"labelled: {counted(report.written, 'clip')}{part} ({duration(report.seconds)}){there}")
    return faults


def opinions_of(found: Listing, folder: Path, second: Path | None, text: Mapping[str, int] | None) -> Opinions:
    """What is thought of the clips of a pool, in their order.

    Args:
        found: the pool.
        folder: of what the labeller said.
        second: of what a second model said; None where none is asked.
        text: numbers of classes that a text model found, by ids; None where none is asked.

    Raises:
        ConfigError: what was said cannot be read.
        ManifestError: nothing was said, since no clip can be heard.
    """
    said = read_said(folder)
    if not said.ids:
        raise ManifestError(
            f"none of {counted(len(found.utterances), 'clip')} of the pool can be heard, expected some to learn from"
        )
    ids = [item.id for item in found.utterances]
    rows = _rows(said, ids)
    heard = rows >= 0
    scores = np.zeros((len(ids), said.scores.shape[1]))
    scores[heard] = said.scores[rows[heard]]
    seconds, agreeing = np.zeros(len(ids)), None
    seconds[heard] = said.seconds[rows[heard]]
    if said.agreeing is not None:
        agreeing = np.zeros(len(ids))
        agreeing[heard] = said.agreeing[rows[heard]]
    return Opinions(
        ids=ids,
        seconds=seconds,
        scores=scores,
        heard=heard,
        agreeing=agreeing,
        second=None if second is None else _second(read_said(second), ids),
        text=None if text is None else np.array([text[one] for one in ids]),
    )


def _rows(said: Said, ids: Sequence[str]) -> np.ndarray:
    """Where clips are among those that something was said of, (N,); -1 for nowhere."""
    place = {name: row for row, name in enumerate(said.ids)}
    return np.array([place.get(one, -1) for one in ids], np.int64)


def _second(said: Said, ids: Sequence[str]) -> np.ndarray:
    """Numbers (N,) of the classes that a second model finds."""
    rows = _rows(said, ids)
    numbers = np.full(len(ids), NO_CLASS)
    if said.ids:
        numbers[rows >= 0] = said.scores.argmax(axis=1)[rows[rows >= 0]]
    return numbers
