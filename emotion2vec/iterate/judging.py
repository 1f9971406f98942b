"""How a round's model does on the held-out clips, and whether it is worse than the last accepted one's.

N: clips. K: classes.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emotion2vec.checkpoint.heard import utterance_key
from emotion2vec.checkpoint.opening import load_model
from emotion2vec.corpora.faults import examples
from emotion2vec.data.cuts import Cuts, cuts_of
from emotion2vec.devices import choose_device
from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.finetune.aims import MAIN
from emotion2vec.finetune.evaluation.answers import Examiner
from emotion2vec.iterate.config import AcceptSettings, IteratePlan
from emotion2vec.iterate.people import People
from emotion2vec.iterate.sheets import write_tsv
from emotion2vec.model.speech import SpeechEncoder
from emotion2vec.tasks.metrics import confusion_matrix, scores, unweighted_accuracy
from emotion2vec.tasks.significance import Comparison, bootstrap_intervals, compare
from emotion2vec.units import counted

ANSWERS = "held_out.tsv"
"""What a round's model says of the held-out clips."""

POOLED = "all"
"""In place of a corpus: the mean over all."""

LEAST_SPEAKERS = 5
"""Held-out speakers of a corpus from which on the bootstrap draws them: draws of two are of three kinds, and what both
have lost by chance would lie beyond their interval."""

COLUMNS = ("corpus", "id", "speaker", "label", "predicted", "confidence")


@dataclass(frozen=True)
class Answer:
    """What was said of a held-out clip: as `COLUMNS`."""

    corpus: str
    id: str
    speaker: str
    label: str
    predicted: str
    confidence: float


def held_cuts(plan: IteratePlan, people: People) -> Cuts:
    """The held-out clips, opened."""
    rows = sorted(place for own in people.held.values() for place in own.tolist())
    clips = [people.corpus.utterances[place] for place in rows]
    return cuts_of(clips, min_samples=plan.data.min_samples, workers=plan.data.workers)


def check_unknown(name: str, what: str, model: SpeechEncoder, opened: Cuts) -> None:
    """Check that a model has not learnt from labels of held-out clips.

    Raises:
        ConfigError: it has.
    """
    if model.heard is None or not opened.cuts:
        return
    known = model.heard.knows("labels", [utterance_key(cut.id, cut.duration) for cut in opened.cuts])
    if known.any():
        named = examples(cut.id for cut, learnt in zip(opened.cuts, known, strict=True) if learnt)
        raise ConfigError(
            f"{what} {name} has learnt the labels of {int(known.sum())} of {len(known)} held-out clips, by their names "
            f"and lengths: {named}; expected one that has not, such as self-supervised weights"
        )


def check_judges(people: People, opened: Cuts) -> None:
    """Check that every corpus has held-out clips enough for a bootstrap to draw.

    Raises:
        ManifestError: of one fewer than two can be opened.
    """
    there = {cut.id for cut in opened.cuts}
    for corpus, rows in people.held.items():
        if (count := sum(people.corpus.utterances[i].id in there for i in rows.tolist())) < 2:
            raise ManifestError(
                f"{count} of {counted(len(rows), 'held-out clip')} of {corpus} can be opened, expected at least 2 to "
                "judge rounds by"
            )


def ask(plan: IteratePlan, people: People, folder: Path, say: Callable[[str], None]) -> list[Answer]:
    """Let a round's model say what the held-out clips are, and keep that beside it.

    Args:
        plan: of the iterations.
        people: whose clips are held out.
        folder: of the round; its model is in `model`.
        say: shows a line of text to the user.

    Raises:
        ManifestError: no held-out clip can be heard.
    """
    model = load_model(folder / "model", device=str(choose_device(plan.run.accelerator)))
    assert model.head is not None
    labels = model.head.labels
    found = Examiner(model, range(len(labels)))(held_cuts(plan, people), {})
    if not found.ids:
        raise ManifestError("none of the held-out clips can be heard, expected some to judge rounds by")
    if found.faults:
        named = examples(map(str, found.faults))
        say(f"warning: {counted(len(found.faults), 'held-out clip')} cannot be used: {named}")
    clips = {clip.id: clip for clip in people.corpus.utterances}
    answers = []
    for name, row in zip(found.ids, np.exp(found.scores[MAIN]), strict=True):
        clip, best = clips[name], int(row.argmax())
        corpus = clip.corpus or people.corpus.name
        told = clip.label or "", labels[best], round(float(row[best]), 6)
        answers.append(Answer(corpus, name, clip.speaker or "", *told))
    write_tsv(folder / ANSWERS, [COLUMNS, *(list(asdict(one).values()) for one in answers)])
    return answers


def read_answers(folder: Path) -> list[Answer]:
    """What the model of an earlier round said.

    Raises:
        ConfigError: it cannot be read.
    """
    path = folder / ANSWERS
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
            rows = list(csv.DictReader(stream, delimiter="\t"))
        return [Answer(**{**row, "confidence": float(row["confidence"])}) for row in rows]  # type: ignore[arg-type]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise ConfigError(f"{path}: cannot be read as what a round's model said: {error}") from error


Statistics = dict[tuple[Hashable, str], np.ndarray]
"""Confusion matrices (K, K) by corpus and by what the bootstrap draws."""


def statistics(answers: Sequence[Answer], classes: Sequence[str], over: str) -> Statistics:
    """Count answers, by speakers where a corpus has `LEAST_SPEAKERS`, or by clips."""
    speakers: dict[str, set[str]] = {}
    for one in answers:
        speakers.setdefault(one.corpus, set()).add(one.speaker)
    found: Statistics = {}
    for one in answers:
        known = speakers[one.corpus]
        unit = one.speaker if over == "speakers" and len(known) >= LEAST_SPEAKERS and "" not in known else one.id
        cell = confusion_matrix(
            np.array([classes.index(one.label)]), np.array([classes.index(one.predicted)]), len(classes)
        )
        key = one.corpus, unit
        found[key] = found.get(key, 0) + cell  # type: ignore[operator]
    return found


def scores_of(answers: Sequence[Answer], classes: Sequence[str], over: str) -> dict[str, dict[str, Any]]:
    """Scores of each corpus in percent, with the interval of its UA, and how many clips and units they are of."""
    units = statistics(answers, classes, over)
    found: dict[str, dict[str, Any]] = {}
    for corpus in sorted({str(corpus) for corpus, _ in units}):
        rows = np.stack([cell for (name, _), cell in units.items() if name == corpus])
        whole = scores(rows.sum(axis=0))
        low, high = bootstrap_intervals(rows)["UA"]
        what = {"clips": int(rows.sum()), "units": len(rows)}
        found[corpus] = {
            **{k: round(v, 3) for k, v in whole.items()},
            "UA interval": [round(low, 3), round(high, 3)],
            **what,
        }
    return found


def compared(
    answers: Sequence[Answer], before: Sequence[Answer], classes: Sequence[str], accept: AcceptSettings
) -> dict[str, Comparison]:
    """UA of a round less that of the last accepted one, by corpus, or their mean, over the clips that both heard.

    Raises:
        ManifestError: of a corpus they have no two clips in common, or none that can be scored.
    """
    shared = {(one.corpus, one.id) for one in answers} & {(one.corpus, one.id) for one in before}
    pairs = ([one for one in rows if (one.corpus, one.id) in shared] for rows in (answers, before))
    ours, theirs = (statistics(rows, classes, accept.over) for rows in pairs)
    corpora = sorted({one.corpus for one in (*answers, *before)})
    found = {corpus: compare(_of(ours, corpus), _of(theirs, corpus), unweighted_accuracy) for corpus in corpora}
    if accept.by == "pooled" and None not in found.values():
        found = {POOLED: compare(ours, theirs, unweighted_accuracy)}
    if unknown := [corpus for corpus, one in found.items() if one is None]:
        raise ManifestError(
            f"held-out clips of {', '.join(unknown)} cannot tell this round from the last accepted one, expected at "
            "least two that the models of both can hear"
        )
    return {corpus: one for corpus, one in found.items() if one is not None}


def _of(units: Statistics, corpus: str) -> Statistics:
    return {key: cell for key, cell in units.items() if key[0] == corpus}


def worse_on(found: Mapping[str, Comparison]) -> list[str]:
    """Corpora on which a round is worse beyond the interval of the difference."""
    return [name for name, one in found.items() if one.interval[1] < 0]
