"""What models already know of the clips that they are tested on: their audio from pretraining, labels from choosing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from emotion2vec.checkpoint.heard import utterance_key
from emotion2vec.corpora.folds import Fold
from emotion2vec.corpora.utterance import Corpus, Utterance
from emotion2vec.probe.features.combined import CombinedFeatures
from emotion2vec.probe.features.extractor import Extractor

MARK = "transductive"
"""Stands beside scores of a model that knew some of the tests."""


@dataclass(frozen=True)
class Knowledge:
    """The clips that some folds test, to be looked for in what models have heard."""

    clips: tuple[Utterance, ...]

    @classmethod
    def of(cls, clipset: Corpus, folds: Sequence[Fold]) -> Knowledge:
        """The clips that any fold tests, each once."""
        tested = sorted({int(i) for fold in folds for i in fold.test})
        return cls(tuple(clipset.utterances[i] for i in tested))

    @cached_property
    def keys(self) -> list[int]:
        """Keys of the clips whose length can be read; nothing is decoded."""
        return [key for clip in self.clips if (key := _key(clip)) is not None]

    @property
    def selection(self) -> dict[str, Any]:
        """Who is chosen by, where these clips are scored to choose: speakers, and the clips' keys."""
        speakers = sorted({clip.speaker for clip in self.clips if clip.speaker is not None})
        return {"speakers": speakers, "clips": len(self.clips), "keys": self.keys}

    def by(self, extractor: Extractor) -> dict[str, float] | None:
        """Shares of the tested clips whose audio a feature's models heard, and whose labels chose them.

        None where a network, or features on disk, do not say what was heard, as most do not.
        """
        parts = extractor.parts if isinstance(extractor, CombinedFeatures) else (extractor,)
        records = [getattr(part, "heard", None) for part in parts]
        if any(record is None for record in records):
            return None
        known = [record for record in records if record]
        return {
            kind: round(max((record.share(kind, self.keys) for record in known), default=0.0), 4)
            for kind in ("audio", "labels")
        }

    def warnings(self, extractor: Extractor) -> list[str]:
        """What is to be said of a feature's scores."""
        return told_of_known(extractor.name, self.by(extractor) or {})


def told_of_known(name: str, shares: Mapping[str, float]) -> list[str]:
    """What is to be said of scores of a model by the shares of the tested clips that it knows, see `Knowledge.by`."""
    what = {"audio": "was trained on the audio", "labels": "was chosen by the labels"}
    return [
        f"{name} {text} of {shares[kind]:.0%} of the tested clips, by their names and lengths: its scores are {MARK}"
        for kind, text in what.items()
        if shares.get(kind)
    ]


def _key(clip: Utterance) -> int | None:
    import soundfile

    if clip.duration is not None:
        return utterance_key(clip.id, clip.duration)
    try:
        return utterance_key(clip.path.name, soundfile.info(clip.path).duration)
    except (OSError, RuntimeError):  # such as video, whose length only decoding tells
        return None
