"""All corpora by name, and what each can give.

A new corpus whose file names say everything is one entry of `filenames.FILE_NAMES`; one with annotation files is a
module with a reader, and one entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from emotion2vec.corpora.faults import examples
from emotion2vec.corpora.named import cmu, iemocap, m3ed, meld, msp_podcast
from emotion2vec.corpora.named.filenames import FILE_NAMES, read_by_name
from emotion2vec.corpora.names import stem
from emotion2vec.corpora.utterance import Corpus
from emotion2vec.errors import ConfigError, ManifestError


@dataclass(frozen=True, kw_only=True)
class NamedCorpus:
    """What a corpus can give.

    Attributes:
        title: its name in messages.
        read_classes: reads the utterances that have one of its classes.
        read_all: reads every utterance, with its values and its place in a conversation; None where it has neither.
        values: labels that are numbers.
        conversations: whether utterances have dialogues and turns.
        facts_of: what the name of a file says; None where it says nothing.
    """

    title: str
    read_classes: Callable[[Path], Corpus]
    read_all: Callable[[Path], Corpus] | None = None
    values: tuple[str, ...] = ()
    conversations: bool = False
    facts_of: Callable[[Path], dict[str, str] | None] = lambda path: None


NAMED = {
    name: NamedCorpus(title=files.title, read_classes=partial(read_by_name, name, files), facts_of=files.read)
    for name, files in FILE_NAMES.items()
} | {
    "iemocap": NamedCorpus(
        title="IEMOCAP",
        read_classes=iemocap.read_classes,
        read_all=iemocap.read_all,
        values=iemocap.VALUES,
        conversations=True,
        facts_of=lambda path: iemocap.facts_of(stem(path)),
    ),
    "meld": NamedCorpus(title="MELD", read_classes=meld.read_classes, read_all=meld.read_all, conversations=True),
    "m3ed": NamedCorpus(title="M3ED", read_classes=m3ed.read_classes, read_all=m3ed.read_all, conversations=True),
    **{
        corpus.name: NamedCorpus(
            title=corpus.title, read_classes=corpus.read_classes, read_all=corpus.read_all, values=cmu.VALUES
        )
        for corpus in (cmu.MOSEI, cmu.MOSI)
    },
    "msp-podcast": NamedCorpus(
        title="MSP-Podcast",
        read_classes=msp_podcast.read_classes,
        read_all=msp_podcast.read_all,
        values=tuple(msp_podcast.VALUES.values()),
    ),
}
"""Corpora by the name that `--dataset` takes."""


def dataset_names() -> list[str]:
    """All names that `read_named` knows."""
    return sorted(NAMED)


def native_name(name: str) -> str:
    """The name that we have for a corpus that others spell without hyphens, or the same name."""
    return next((known for known in dataset_names() if known.replace("-", "") == name.lower().replace("-", "")), name)


def facts_of_name(corpus: str, path: Path) -> dict[str, str]:
    """What a clip's file name says in a known corpus: speaker, sentence and so on; nothing where it says nothing."""
    return (NAMED[corpus].facts_of(path) or {}) if corpus in NAMED else {}


def read_named(name: str, root: str | Path, *, targets: Sequence[str] = (), conversations: bool = False) -> Corpus:
    """Find a named corpus's utterances anywhere below `root`.

    Args:
        name: one of `dataset_names`.
        root: folder of the corpus, in its published layout; corpora that are read by file stems may have any.
        targets: values that are wanted; every utterance is read then, without a label if it has none of the classes.
        conversations: dialogues and turns are wanted, and every utterance is read.

    Returns:
        The utterances. What is left out, a stem found twice, and a number of clips other than the published one are
        reported as warnings.

    Raises:
        ConfigError: the name is not known, or the corpus not known to have what is wanted.
        ManifestError: the folder is missing or is not that corpus.
    """
    corpus = NAMED.get(name)
    if conversations and (corpus is None or not corpus.conversations):
        known = ", ".join(key for key, other in NAMED.items() if other.conversations)
        raise ConfigError(f"dataset {name} has no dialogues that we know of, expected one of {known}, or a table")
    if lacking := sorted(set(targets) - set(corpus.values if corpus else ())):
        known = "; ".join(f"{key}: {', '.join(other.values)}" for key, other in NAMED.items() if other.values)
        raise ConfigError(f"dataset {name} has no values of {examples(lacking)}, expected one of {known}; or a table")
    if corpus is None:
        raise ConfigError(f"dataset is {name!r}, expected one of {', '.join(dataset_names())}, or a table of your own")
    root = Path(root)
    if not root.is_dir():
        raise ManifestError(f"root {root}: no such folder, expected the folder of {corpus.title}")
    every = corpus.read_all if targets or conversations else None
    return (every or corpus.read_classes)(root)
