"""n-shot curves: scores against the labelled clips of each class that there were to learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from emotion2vec.probe.corpus import ProbedCorpus
from emotion2vec.probe.outcome import Outcome
from emotion2vec.probe.scores import Shot
from emotion2vec.tasks.metrics import mean_scores, std_scores
from emotion2vec.tasks.significance import bootstrap_intervals


def shot_scores(found: Mapping[int | None, Sequence[Outcome]], corpus: ProbedCorpus) -> tuple[Shot, ...]:
    """Scores of each number of clips: outcomes of all folds with all seeds."""
    return tuple(_scored(count, outcomes, corpus) for count, outcomes in found.items())


def _scored(count: int | None, outcomes: Sequence[Outcome], corpus: ProbedCorpus) -> Shot:
    goal, clips = corpus.goal, corpus.clipset.utterances
    by_seed: dict[int, np.ndarray] = {}
    by_speaker: dict[str, np.ndarray] = {}
    for item in outcomes:
        by_seed[item.seed] = by_seed.get(item.seed, 0) + item.statistics
        speakers = np.array([clips[i].speaker or f"clip {i}" for i in item.test])
        for speaker in np.unique(speakers):
            own = speakers == speaker
            part = goal.statistics(item.test[own], item.scores[own])
            by_speaker[speaker] = by_speaker.get(speaker, 0) + part
    rows = [goal.score(found) for found in by_seed.values()]
    interval = bootstrap_intervals(np.stack(list(by_speaker.values())), goal.score)[goal.main]
    return Shot(
        count=count,
        scores=mean_scores(rows, list(rows[0])),
        std=std_scores(rows, [goal.main])[goal.main],
        interval=interval,
        seeds=len(rows),
    )
