"""Which labelled corpus: the options of every verb that takes one, and reading it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from emotion2vec.corpora.conversations import with_turns
from emotion2vec.corpora.lists.columns import COLUMNS_HELP, LABELS_HELP, Names
from emotion2vec.corpora.lists.folders import read_class_folders
from emotion2vec.corpora.lists.tables import read_table
from emotion2vec.corpora.named.emobox import read_emobox
from emotion2vec.corpora.named.registry import read_named
from emotion2vec.corpora.utterance import Corpus
from emotion2vec.errors import ConfigError
from emotion2vec.settings import option


@dataclass(kw_only=True)
class CorpusOptions:
    """A labelled corpus: a named one, a table, one of EmoBox's, or, with `root` alone, a folder per class."""

    dataset: str | None = option(None, "Name of a corpus, with its folder in --root.")
    table: Path | str | None = option(None, "CSV, TSV or XLSX with columns file, emotion, speaker.")
    emobox: Path | str | None = option(None, "Folder of a corpus in EmoBox's metadata.")
    root: Path | str | None = option(
        None, "Folder of the audio; alone: one folder per class.", flags=("--root", "--audio-root")
    )
    columns: tuple[str, ...] = option((), COLUMNS_HELP)
    labels: tuple[str, ...] = option((), LABELS_HELP)

    @property
    def faults(self) -> list[str]:
        """What is wrong about the combination."""
        given = self._given
        faults = []
        if len(given) > 1 or (not given and self.root is None):
            faults.append(
                f"expected one of dataset, table, emobox or root alone, found {' and '.join(given) or 'none'}"
            )
        if self.table is None and (self.columns or self.labels):
            faults.append("columns and labels say what a table calls things, expected table")
        if self.root is None and (self.dataset is not None or self.emobox is not None):
            faults.append(f"root is missing, expected the folder of the audio of {self.dataset or self.emobox}")
        return faults

    def lacking(self, wanted: Sequence[str]) -> list[str]:
        """The fault of wanting values or conversations, in words, of a kind of corpus that has none."""
        if not wanted or self.dataset is not None or self.table is not None:
            return []
        found = " and ".join(self._given) or "a folder"
        return [f"{' and '.join(wanted)} need a dataset or a table, found {found}"]

    @property
    def _given(self) -> list[str]:
        return [name for name in ("dataset", "table", "emobox") if getattr(self, name) is not None]


def read_corpus(options: CorpusOptions, *, targets: Sequence[str] = (), conversations: bool = False) -> Corpus:
    """Read the corpus that options name.

    Args:
        options: which one.
        targets: values that utterances must have, such as arousal, in place of classes.
        conversations: utterances must have a place in a dialogue; labels may be unknown.

    Raises:
        ConfigError: options that do not fit together, a dataset that is not known, or not known to have what is wanted.
        ManifestError: corpus, metadata or table cannot be read.
    """
    if options.faults:
        raise ConfigError("; ".join(options.faults))
    root = options.root or "."
    if options.dataset is not None:
        corpus = read_named(options.dataset, root, targets=targets, conversations=conversations)
    elif options.table is not None:
        names = Names.of(options.columns, options.labels)
        corpus = read_table(options.table, options.root, targets=targets, conversations=conversations, names=names)
        corpus = replace(corpus, warnings=(*corpus.warnings, *names.unused()))
    elif options.emobox is not None:
        return read_emobox(options.emobox, root)
    else:
        return read_class_folders(root)
    return with_turns(corpus) if conversations else corpus
