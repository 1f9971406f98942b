"""What is to be probed, and whether the parts of a request fit together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emotion2vec.corpora.clips import ClipSet
from emotion2vec.corpora.conversations import with_turns
from emotion2vec.corpora.lists.emobox import read_emobox
from emotion2vec.corpora.lists.tables import read_class_folders, read_table
from emotion2vec.corpora.named.datasets import read_corpus
from emotion2vec.corpora.named.utterances import read_utterances
from emotion2vec.errors import ConfigError
from emotion2vec.probe.problem import HeadRecipe, task_kind
from emotion2vec.tasks.targets import with_values


@dataclass(frozen=True, kw_only=True)
class Request:
    """Clips, and what is wanted of them; see `probe`."""

    dataset: str | None = None
    table: str | Path | None = None
    emobox: str | Path | None = None
    root: str | Path | None = None
    targets: tuple[str, ...] = ()
    context: int = 0

    @property
    def faults(self) -> list[str]:
        """What is wrong about the combination."""
        sources = {"dataset": self.dataset, "table": self.table, "emobox": self.emobox}
        given = [name for name, value in sources.items() if value is not None]
        faults = []
        if len(given) > 1 or (not given and self.root is None):
            faults.append(
                f"expected one of dataset, table, emobox or root alone, found {' and '.join(given) or 'none'}"
            )
        if self.root is None and (self.dataset is not None or self.emobox is not None):
            faults.append(f"root is missing, expected the folder of the audio of {self.dataset or self.emobox}")
        wanted = [f"targets {', '.join(self.targets)}"] * bool(self.targets) + ["a context"] * bool(self.context)
        if wanted and self.dataset is None and self.table is None:
            faults.append(
                f"{' and '.join(wanted)} need a dataset or a table, found {' and '.join(given) or 'a folder'}"
            )
        return faults + self.wanted_faults

    @property
    def wanted_faults(self) -> list[str]:
        """What is wrong about targets and context, wherever clips come from."""
        faults = []
        if len(set(self.targets)) < len(self.targets):
            faults.append(f"targets are {', '.join(self.targets)}, expected each once")
        if self.targets and self.context:
            faults.append("targets and a context are given, expected one of them")
        if self.context < 0:
            faults.append(f"context is {self.context}, expected 0 or a number of turns")
        return faults

    def checked(self) -> Request:
        """Itself.

        Raises:
            ConfigError: the combination is wrong, with all its faults.
        """
        if self.faults:
            raise ConfigError("; ".join(self.faults))
        return self

    def read(self) -> ClipSet:
        """Read the clips.

        Raises:
            ConfigError: a dataset that is not known, or not known to have what is wanted.
            ManifestError: corpus, metadata or table cannot be read.
        """
        turns = bool(self.context)
        if self.dataset is not None:
            if not (self.targets or turns):
                return read_corpus(self.dataset, self.root or ".")
            found = read_utterances(self.dataset, self.root or ".", targets=self.targets, conversations=turns)
        elif self.table is not None:
            found = read_table(self.table, self.root, targets=self.targets, conversations=turns)
        elif self.emobox is not None:
            return read_emobox(self.emobox, self.root or ".")
        else:
            return read_class_folders(self.root or ".")
        return self.checked_clips(found)

    def checked_clips(self, clipset: ClipSet) -> ClipSet:
        """The clips that have what is wanted.

        Raises:
            ManifestError: turns are wanted and clips have none, or no clip has a value that is wanted.
        """
        if self.context:
            return with_turns(clipset)
        return with_values(clipset, self.targets) if self.targets else clipset


def check_request(
    request: Request,
    clips: ClipSet | None,
    features: Sequence[Any],
    heads: Sequence[HeadRecipe],
    seeds: Sequence[int],
    layer: int | str,
) -> None:
    """Raise one ConfigError with everything that is wrong about the combination of arguments."""
    faults = request.faults if clips is None else request.wanted_faults
    if not features:
        faults.append("no features and no model, expected at least one, such as logmel")
    if not seeds:
        faults.append("seeds is empty, expected at least one number")
    faults += frame_faults(heads, layer)
    faults += head_faults(heads, task_kind(request.targets, request.context))
    if faults:
        raise ConfigError("; ".join(faults))


def head_faults(heads: Sequence[HeadRecipe], kind: str) -> list[str]:
    """Heads that cannot learn a task of this kind."""
    unfit = [head.name for head in heads if kind not in head.kinds]
    what = {
        "conversation": "is not for predicting the next turn of a conversation, expected dialogue",
        "regression": "predicts no values, expected ridge, linear, mlp, weighted, attention or gru",
        "classification": "predicts no classes of clips: ridge needs targets, dialogue a context",
    }
    return [f"head {', '.join(unfit)} {what[kind]}"] if unfit else []


def frame_faults(heads: Sequence[HeadRecipe], layer: int | str) -> list[str]:
    """Heads that need frames, where a layer gives none."""
    reading = [head.name for head in heads if head.needs == "frames"]
    if layer != "all" or not reading:
        return []
    return [f"layer is 'all', which gives no frames, and head {', '.join(reading)} reads frames"]
