"""What a benchmark found, one combination of corpus, feature and head at a time, and the files that keep it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from emotion2vec.corpora.summary import Summary
from emotion2vec.files import write_json
from emotion2vec.notebooks import Shown, Table
from emotion2vec.probe.embedding import Embedding
from emotion2vec.probe.results import About, ProbeResult
from emotion2vec.probe.scores import Document, HeadScores


@dataclass(frozen=True, kw_only=True, repr=False)
class Combination(Document):
    """One corpus, feature and head that are done.

    Attributes:
        title: of the corpus, in the report.
        feature: its name in the report.
        about: what was probed, and how.
        scores: of the feature under the head.
        request: what the result is of, by content: a result on disk is taken again for the very same.
        embedding: the feature's vectors in two dimensions.
    """

    title: str
    feature: str
    about: About
    scores: HeadScores
    request: Mapping[str, Any]
    embedding: Embedding

    def _said(self) -> str:
        return f"{self.title}, {self.feature}, {self.scores.head}: {self.scores.score}"

    @property
    def task(self) -> str:
        """`classification`, `regression`, or `conversation` where the next turn is predicted."""
        return "conversation" if self.about.context else self.scores.task

    def to_dict(self) -> dict[str, Any]:
        """The document of `probe`, and with it what else is here."""
        scores = replace(self.scores, feature=self.feature)
        return {**self._kept(scores), "title": self.title}

    def _kept(self, scores: HeadScores) -> dict[str, Any]:
        probed = ProbeResult(about=self.about, results=(scores,))
        return {**probed.to_dict(), "request": dict(self.request), "embedding": self.embedding.to_dict()}

    def write(self, path: Path) -> None:
        """Keep the result, by the names that its feature and corpus have of themselves."""
        write_json(path, self._kept(self.scores))

    @classmethod
    def read(cls, path: Path, *, request: Mapping[str, Any], title: str, feature: str) -> Combination | None:
        """A result that `write` kept, of exactly this request; None where there is none."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if document.get("request") != request:
            return None
        probed = ProbeResult.from_dict(document)
        return cls(
            title=title,
            feature=feature,
            about=probed.about,
            scores=probed.results[0],
            request=request,
            embedding=Embedding(**document["embedding"]),
        )


@dataclass(frozen=True)
class Failure:
    """What could not be done, and why; a corpus that cannot be read has no `feature`."""

    corpus: str
    feature: str
    reason: str


@dataclass(repr=False)
class BenchmarkResult(Shown):
    """What became of a benchmark."""

    combinations: list[Combination] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def _said(self) -> str:
        return f"{len(self.combinations)} combinations done, {len(self.failures)} failed"

    def _table(self) -> Table:
        rows = [[done.title, done.feature, done.scores.head, done.scores.score] for done in self.combinations]
        return ("corpus", "feature", "head", "score of all clips, with 95 %"), rows

    @property
    def incomplete(self) -> int:
        """Combinations of which clips could not be used."""
        return sum(not done.about.complete for done in self.combinations)

    @property
    def summary(self) -> Summary:
        """Counts of combinations."""
        summary = Summary(len(self.combinations) + len(self.failures), len(self.combinations))
        summary.leave_out(failure.reason for failure in self.failures)
        if self.incomplete:
            summary.changed["without some of their clips"] = self.incomplete
        return summary

    @property
    def exit_code(self) -> int:
        """0 all done, 1 some combinations failed or are incomplete, 2 none could be done."""
        if not self.combinations:
            return 2
        return 1 if self.failures or self.incomplete else 0
