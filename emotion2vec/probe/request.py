"""What is to be probed, and whether the parts of a request fit together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from emotion2vec.corpora.conversations import with_turns
from emotion2vec.corpora.options import CorpusOptions, read_corpus
from emotion2vec.corpora.utterance import Corpus
from emotion2vec.errors import ConfigError
from emotion2vec.probe.problem import HeadRecipe, task_kind
from emotion2vec.tasks.targets import with_values


@dataclass(frozen=True, kw_only=True)
class Request:
    """A corpus, and what is wanted of it; see `probe`."""

    corpus: CorpusOptions = field(default_factory=CorpusOptions)
    targets: tuple[str, ...] = ()
    context: int = 0

    @property
    def faults(self) -> list[str]:
        """What is wrong about the combination."""
        wanted = [f"targets {', '.join(self.targets)}"] * bool(self.targets) + ["a context"] * bool(self.context)
        return self.corpus.faults + self.corpus.lacking(wanted) + self.wanted_faults

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

    def read(self) -> Corpus:
        """Read the clips.

        Raises:
            ConfigError: a dataset that is not known, or not known to have what is wanted.
            ManifestError: corpus, metadata or table cannot be read.
        """
        found = read_corpus(self.corpus, targets=self.targets, conversations=bool(self.context))
        return with_values(found, self.targets) if self.targets else found

    def checked_clips(self, clipset: Corpus) -> Corpus:
        """The clips that have what is wanted.

        Raises:
            ManifestError: turns are wanted and clips have none, or no clip has a value that is wanted.
        """
        if self.context:
            return with_turns(clipset)
        return with_values(clipset, self.targets) if self.targets else clipset


def check_request(
    request: Request,
    clips: Corpus | None,
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
