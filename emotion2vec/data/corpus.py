"""What a run trains on: lists of audio and prepared corpora together, each with a weight."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from emotion2vec.corpora.faults import Change, Fault
from emotion2vec.corpora.lists.columns import Names
from emotion2vec.corpora.summary import Summary
from emotion2vec.data.cuts import load_cuts
from emotion2vec.data.shards import ShardSource, is_prepared
from emotion2vec.data.sources import CutSource, Source
from emotion2vec.data.storage import with_retries
from emotion2vec.errors import ConfigError


class TrainingCorpus(NamedTuple):
    """Sources of audio, and what of them was left out."""

    sources: list[Source]
    faults: list[Fault]
    """Entries of lists that cannot be used; prepared corpora hold none."""
    too_short: list[Fault]
    """Sound entries of lists that are shorter than the minimum."""
    changes: list[Change]
    """Entries of lists that are used otherwise than they were listed."""
    missing: int = 0
    """Faults of entries that a list names and that are not there, or cannot be read."""

    @property
    def utterances(self) -> int:
        """Utterances of all sources, once each; those of prepared corpora that are too short are counted."""
        return sum(int(source.counts.sum()) for source in self.sources)

    @property
    def summary(self) -> Summary:
        """The counts of all entries."""
        left_out = [*self.faults, *self.too_short]
        summary = Summary(found=self.utterances + len(left_out), done=self.utterances)
        summary.leave_out(left_out)
        summary.change(self.changes)
        return summary

    @property
    def seconds(self) -> float:
        """Audio of all sources, once each, in s."""
        return sum(source.seconds for source in self.sources)

    @property
    def shares(self) -> list[float]:
        """Share of each source in the audio that training sees."""
        seen = [source.weight * source.seconds for source in self.sources]
        return [part / sum(seen) for part in seen]


def open_corpus(
    train: Sequence[str],
    *,
    weights: Sequence[float] = (),
    min_samples: int,
    max_bad_share: float,
    workers: int,
    columns: Sequence[str] = (),
) -> TrainingCorpus:
    """Open everything that a run trains on.

    A prepared corpus is opened by its summary alone, however large; of a list, the header of every file is read.

    Args:
        train: prepared corpora (folders of `emotion2vec prepare`, or their URLs) and lists of any kind that
            `read_manifest` takes.
        weights: how often each of them is seen per epoch; empty for once each.
        min_samples: shortest utterance of a list to keep, in samples at 16 kHz.
        max_bad_share: largest share of a list's entries that may be unusable; lists of one weight count together.
        workers: threads that open headers.
        columns: what tables call their columns, `ours=theirs`.

    Raises:
        ConfigError: the numbers of weights and sources differ, or a package for the storage is missing.
        ManifestError: a source cannot be read, or has too little that is usable.
        StorageError: a prepared corpus cannot be reached.
    """
    if weights and len(weights) != len(train):
        raise ConfigError(f"{len(weights)} weights for {len(train)} sources, expected one each")
    weighted = list(zip(train, weights or [1.0] * len(train), strict=True))
    corpus, names = TrainingCorpus([], [], [], []), Names.of(columns)
    missing = 0
    lists: dict[float, list[str]] = {}
    for source, weight in weighted:
        if is_prepared(source):
            corpus.sources.append(with_retries(partial(ShardSource, source, weight)))
        else:
            lists.setdefault(weight, []).append(source)
    for weight, sources in lists.items():
        loaded = load_cuts(sources, min_samples=min_samples, max_bad_share=max_bad_share, workers=workers, names=names)
        corpus.sources.append(CutSource(loaded.cuts, weight))
        corpus.faults.extend(loaded.faults)
        corpus.too_short.extend(loaded.too_short)
        corpus.changes.extend(loaded.changes)
        missing += loaded.missing
    return corpus._replace(missing=missing)
