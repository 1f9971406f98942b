"""Reading the corpora of a plan."""

from __future__ import annotations

import hashlib
from pathlib import Path

from emotion2vec.corpora.contents import combined_key
from emotion2vec.corpora.joining import Part, join_corpora
from emotion2vec.corpora.options import CorpusOptions, read_corpus
from emotion2vec.corpora.utterance import Corpus
from emotion2vec.errors import ConfigError
from emotion2vec.probe.benchmark.plan import BenchmarkPlan, CorpusPlan, PartPlan
from emotion2vec.probe.checks import corpus_faults
from emotion2vec.probe.corpus import read_wanted

DIGESTED: tuple[str, ...] = ("speaker", "gender", "session", "text", "sentence", "intensity", "fold", "split")
DIGESTED += ("corpus", "language", "values", "dialogue", "turn")
"""What a result on disk depends on beside the audio, the files' names and labels."""


def read_planned(plan: BenchmarkPlan, corpus: CorpusPlan) -> Corpus:
    """Read a corpus of a plan, or join its parts; paths start at the plan's `data`.

    Raises:
        ConfigError: see `corpus_faults` and `join_corpora`.
        ManifestError: a corpus cannot be read.
    """
    if not corpus.parts:
        options = _located(plan, corpus)
        unused = ["classes are given without parts, expected corpora to join"] if corpus.classes else []
        _raise(corpus.name, corpus_faults(options, corpus.targets, corpus.context) + unused)
        return read_wanted(options, corpus.targets, corpus.context)
    alone = {"dataset", "table", "emobox", "root", "targets", "context"}
    faults = [f"parts and {name} are given, expected one of them" for name in sorted(alone) if getattr(corpus, name)]
    located = [(part, _located(plan, part)) for part in corpus.parts]
    faults += [f"{part.name}: {fault}" for part, options in located for fault in options.faults]
    _raise(corpus.name, faults)
    parts = [
        Part(
            name=part.name,
            corpus=read_corpus(options),
            language=part.language,
            split=part.split,
            labels=part.labels,
            only=Path(plan.data) / part.only if part.only else None,
        )
        for part, options in located
    ]
    return join_corpora(parts, corpus.name, corpus.classes)


def _raise(name: str, faults: list[str]) -> None:
    if faults:
        raise ConfigError(f"{name}: " + "; ".join(faults))


def _located(plan: BenchmarkPlan, source: CorpusPlan | PartPlan) -> CorpusOptions:
    """Which corpus it is, paths joined to the plan's `data`."""
    whole = isinstance(source, CorpusPlan)  # a part's labels become classes when it is joined
    paths = {name: getattr(source, name) for name in ("table", "emobox", "root")}
    return CorpusOptions(
        dataset=source.dataset,
        columns=tuple(f"{ours}={theirs}" for ours, theirs in source.columns.items()),
        labels=tuple(f"{ours}={theirs}" for theirs, ours in getattr(source, "labels", {}).items()) if whole else (),
        **{name: Path(plan.data) / path for name, path in paths.items() if path},
    )


def corpus_digest(clipset: Corpus, cache: str | Path) -> str:
    """Hash of the clips, what is said about them, and their audio."""
    facts = [
        [clip.stretch, clip.label or "", *(getattr(clip, name) for name in DIGESTED)] for clip in clipset.utterances
    ]
    audio = combined_key((clip.path for clip in clipset.utterances), cache)
    described = repr(facts) + repr(clipset.splits) + repr(clipset.mapping)
    return hashlib.blake2b((described + audio).encode(), digest_size=12).hexdigest()
