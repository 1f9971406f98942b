"""What stands above scores: of which clips they are, and how they were made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from emotion2vec.corpora.faults import Fault
from emotion2vec.probe.corpus import ProbedCorpus, clip_summary
from emotion2vec.probe.results import About
from emotion2vec.version import PROBED_WITH, versions


def about(
    corpus: ProbedCorpus,
    left_out: Mapping[str, str],
    warnings: Sequence[str],
    *,
    settings: Mapping[str, Any],
    device: str,
    rows: np.ndarray | None = None,
    context: int = 0,
    selection: Mapping[str, Any] | None = None,
) -> About:
    """Describe what scores are of.

    Args:
        corpus: what was probed or tested.
        left_out: files that could not be used, and why.
        warnings: what to read the scores with in mind.
        settings: how features were read and heads were chosen.
        device: where networks ran.
        rows: positions of the clips that count; all of them by default.
        context: turns before the one that is predicted.
        selection: who is chosen by, where no test is scored.
    """
    clipset, goal = corpus.clipset, corpus.goal
    if rows is None:
        rows = np.arange(len(clipset.utterances))
    else:
        clipset = replace(clipset, utterances=tuple(clipset.utterances[i] for i in rows), left_out=dict(left_out))
    values = goal.task == "regression"
    return About(
        dataset=clipset.name,
        clips=len(clipset.utterances),
        speakers=len({clip.speaker for clip in clipset.utterances} - {None}),
        scheme=corpus.scheme,
        targets=goal.describe(rows) if values else None,
        classes=None if values else goal.names,
        clips_per_class=None if values else clipset.label_counts,
        context=context,
        conversation=corpus.contexts.facts if corpus.contexts else None,
        selection=selection,
        mapping=clipset.mapping,
        summary=clip_summary(clipset, left_out),
        audit=corpus.audit,
        settings=settings,
        device=device,
        left_out=tuple(Fault(file, reason) for file, reason in left_out.items()),
        changes=clipset.changes,
        warnings=tuple(warnings),
        versions=versions(*PROBED_WITH),
    )
