"""What a probe found, of all features under all heads, with the JSON document that it is kept in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from emotion2vec.corpora.faults import Change, Fault
from emotion2vec.corpora.summary import Summary
from emotion2vec.notebooks import Table
from emotion2vec.probe.scores import Document, HeadScores, given
from emotion2vec.units import counted


@dataclass(frozen=True, kw_only=True, repr=False)
class About(Document):
    """What was probed, and how.

    Attributes:
        dataset: name of the corpus.
        clips: how many it has.
        speakers: how many are known.
        scheme: of the folds.
        targets: mean and deviation of each value that is predicted; None of classes.
        classes: that are predicted; None of values.
        clips_per_class: of all clips; None of values.
        context: turns before the one that is predicted; 0 where what is heard is recognized.
        conversation: numbers of dialogues and turns, see `Contexts.facts`; None without a context.
        selection: who is chosen by, see `Knowledge.selection`; None where tests are scored.
        mapping: of joined corpora, what every label became.
        summary: counts of clips.
        audit: what the folds give away, see `audit`.
        settings: `layer`, `pooling`, `standardize` and `seeds`.
        device: where networks ran.
        left_out: files that could not be used, and why.
        changes: files that were used otherwise than they were listed.
        warnings: what to read the scores with in mind.
        versions: of what the numbers depend on.
    """

    dataset: str
    clips: int
    speakers: int
    scheme: str
    targets: Mapping[str, Any] | None
    classes: tuple[str, ...] | None
    clips_per_class: Mapping[str, int] | None
    context: int
    conversation: Mapping[str, int] | None
    selection: Mapping[str, Any] | None
    mapping: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    summary: Summary
    audit: Mapping[str, Any]
    settings: Mapping[str, Any]
    device: str
    left_out: tuple[Fault, ...]
    changes: tuple[Change, ...]
    warnings: tuple[str, ...]
    versions: Mapping[str, str | None]

    @property
    def people(self) -> str:
        """How many speakers there are, in words."""
        return counted(self.speakers, "speaker") if self.speakers else "unknown speakers"

    @property
    def complete(self) -> bool:
        """Whether every clip could be used."""
        return not self.left_out

    def _said(self) -> str:
        return f"{self.dataset}, {self.clips} clips, {self.speakers} speakers, {self.scheme} folds"

    def to_dict(self) -> dict[str, Any]:
        """See `Document`."""
        classes = None if self.classes is None else list(self.classes)
        return {
            "dataset": self.dataset,
            "clips": self.clips,
            "speakers": self.speakers,
            "scheme": self.scheme,
            **given(targets=self.targets, classes=classes, clips_per_class=self.clips_per_class),
            "context": self.context,
            **given(conversation=self.conversation, selection=self.selection, mapping=self.mapping or None),
            "complete": self.complete,
            "summary": self.summary.to_dict(),
            "audit": dict(self.audit),
            "settings": dict(self.settings),
            "device": self.device,
            "left_out": [{"file": fault.where, "reason": fault.reason} for fault in self.left_out],
            "changes": [asdict(change) for change in self.changes],
            "warnings": list(self.warnings),
            "versions": dict(self.versions),
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> About:
        """Read what `to_dict` gave, among other entries."""
        same = ("dataset", "clips", "speakers", "scheme", "context", "audit", "settings", "device", "versions")
        there_or_none = ("targets", "clips_per_class", "conversation", "selection")
        found: dict[str, Any] = {name: document[name] for name in same}
        found |= {name: document.get(name) for name in there_or_none}
        classes = document.get("classes")
        return cls(
            **found,
            classes=None if classes is None else tuple(classes),
            mapping=document.get("mapping", {}),
            summary=Summary.of(document["summary"]),
            left_out=tuple(Fault(row["file"], row["reason"]) for row in document["left_out"]),
            changes=tuple(Change(**row) for row in document["changes"]),
            warnings=tuple(document["warnings"]),
        )


@dataclass(frozen=True, kw_only=True, repr=False)
class ProbeResult(Document):
    """Scores of every feature under every head on the same folds.

    Attributes:
        about: what was probed, and how.
        results: one for each feature and head.
        further: of a model with further heads, the scores of each by its target.
    """

    about: About
    results: tuple[HeadScores, ...]
    further: Mapping[str, HeadScores] = field(default_factory=dict)

    def _said(self) -> str:
        if not self.results:
            return f"{self.about.dataset}, no scores"
        best, *rest = self._ranked()
        which = f"best of {len(self.results)}: " * bool(rest)
        return f"{self.about.dataset}, {self.about.scheme} folds, {which}{best.feature}, {best.head}, {best.score}"

    def _table(self) -> Table:
        rows = [[row.feature, row.head, row.score] for row in self._ranked()]
        return ("feature", "head", "score of all clips, with 95 %"), rows

    def _ranked(self) -> list[HeadScores]:
        """The best first; those without a score last."""
        found = [(-math.inf if (score := row.pooled[row.main]) is None else score, row) for row in self.results]
        return [row for _, row in sorted(found, key=lambda pair: -pair[0])]

    def to_dict(self) -> dict[str, Any]:
        """The JSON document: a single result stands at the top level, several under `results`."""
        documents = [scores.to_dict() for scores in self.results]
        return {
            **self.about.to_dict(),
            **(documents[0] if len(documents) == 1 else {"results": documents}),
            **given(further={target: scores.to_dict() for target, scores in self.further.items()} or None),
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> ProbeResult:
        """Read what `to_dict` gave, among other entries."""
        rows = document.get("results", [document])
        return cls(
            about=About.from_dict(document),
            results=tuple(HeadScores.from_dict(row) for row in rows),
            further={target: HeadScores.from_dict(row) for target, row in document.get("further", {}).items()},
        )
