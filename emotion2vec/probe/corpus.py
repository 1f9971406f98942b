"""A corpus that is ready to probe: what is predicted, on which folds, and what these give away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emotion2vec.corpora.conversations import Contexts, with_turns
from emotion2vec.corpora.faults import examples
from emotion2vec.corpora.folds import Fold, make_folds
from emotion2vec.corpora.options import CorpusOptions, read_corpus
from emotion2vec.corpora.summary import Summary
from emotion2vec.corpora.utterance import Corpus
from emotion2vec.corpora.validation import selection_fold
from emotion2vec.errors import ConfigError
from emotion2vec.probe.audit import audit
from emotion2vec.probe.groups import Groups, groups_of
from emotion2vec.probe.knowledge import Knowledge
from emotion2vec.tasks.targets import Goal, check_tests, make_goal, with_values


@dataclass(frozen=True, kw_only=True)
class ProbedCorpus:
    """A corpus, read, divided and examined.

    Attributes:
        clipset: its clips, which the others refer to by position.
        goal: what is predicted.
        scheme: name of the folds.
        folds: the splits; of nothing but turns that are predicted where `contexts` are.
        contexts: in conversations, what is heard for each turn.
        audit: what the folds give away, see `audit`.
        known: the clips that are tested, to be looked for in what models have heard.
        groups: of the clips, that scores are given of beside those of all.
    """

    clipset: Corpus
    goal: Goal
    scheme: str
    folds: tuple[Fold, ...]
    contexts: Contexts | None
    audit: Mapping[str, Any]
    known: Knowledge
    groups: Groups

    @property
    def warnings(self) -> list[str]:
        """What is to be said of any scores on it."""
        of_turns = self.contexts.warnings(self.clipset, self.folds) if self.contexts else []
        return [*self.clipset.warnings, *of_turns, *self.audit["warnings"]]


def read_wanted(options: CorpusOptions, targets: Sequence[str], context: int) -> Corpus:
    """Read the clips of a corpus that have what is to be predicted.

    Raises:
        ConfigError: a dataset that is not known, or not known to have what is wanted.
        ManifestError: corpus, metadata or table cannot be read, or see `wanted_clips`.
    """
    return wanted_clips(read_corpus(options, targets=targets, conversations=bool(context)), targets, context)


def wanted_clips(clipset: Corpus, targets: Sequence[str], context: int) -> Corpus:
    """The clips that have what is to be predicted.

    Raises:
        ManifestError: turns are wanted and clips have none, or no clip has a value that is wanted.
    """
    if context:
        return with_turns(clipset)
    return with_values(clipset, targets) if targets else clipset


def prepare_corpus(
    clipset: Corpus,
    scheme: str,
    *,
    targets: Sequence[str] = (),
    context: int = 0,
    select: bool = False,
    cache: str | Path | None = None,
) -> ProbedCorpus:
    """Divide a corpus into folds, and examine these.

    Args:
        clipset: the clips that have what is predicted.
        scheme: of the folds, see `make_folds`.
        targets: see `probe`.
        context: see `probe`.
        select: see `probe`.
        cache: folder that remembers hashes of audio between runs.

    Raises:
        ConfigError: the scheme does not fit the corpus, or tests too little.
    """
    goal = make_goal(clipset, targets)
    try:
        folds = make_folds(clipset, scheme)
    except ConfigError as error:
        if not clipset.left_out:
            raise
        missing = f"{len(clipset.left_out)} listed files cannot be used: {examples(clipset.left_out)}"
        raise ConfigError(f"{error}; {missing}") from error
    if select:
        folds = [selection_fold(clipset.utterances, folds)]
    contexts = None
    if context:
        contexts = Contexts.of(clipset, context)
        folds = contexts.restrict(folds)
    check_tests(goal, [fold.test for fold in folds])
    return ProbedCorpus(
        clipset=clipset,
        goal=goal,
        scheme=scheme,
        folds=tuple(folds),
        contexts=contexts,
        audit=audit(clipset, folds, goal, cache),
        known=Knowledge.of(clipset, folds),
        groups=groups_of(clipset.utterances),
    )


def clip_summary(clipset: Corpus, left_out: Mapping[str, str]) -> Summary:
    """Counts of a corpus's clips, and of the files that were left out, those that it could not find among them."""
    found = len(clipset.utterances) + len(clipset.left_out)
    summary = Summary(found, found - len(left_out))
    summary.leave_out(left_out.values())
    summary.change(clipset.changes)
    summary.passed_over += clipset.passed_over
    return summary
