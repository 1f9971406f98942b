"""Published scores, to stand beside ours, and what keeps them from comparing with ours."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from typing import Any

from emotion2vec.assets import asset_folder
from emotion2vec.tasks.metrics import METRICS

OUR_VARIANTS = {"mlp-paper": "mlp", "linear-superb": "linear"}
"""Heads of published protocols, and those of ours that are the same but for standardized features."""


@dataclass(frozen=True, kw_only=True)
class PublishedScore:
    """One feature's scores on one corpus, as its source states them."""

    dataset: str
    feature: str
    head: str
    protocol: str
    scores: dict[str, float]
    """In %, by metric; those that the source gives."""
    source: str
    address: str
    folds: str | None = None
    """Our fold scheme with the same folds, or None."""
    independent: bool | None = None
    """Whether no speaker is in both training and test; None where that is not known."""

    def differences(self, folds: str, heads: Collection[str], standardize: bool = True) -> list[str]:
        """Why it does not simply compare with scores of ours on these folds under these heads, as sentences.

        Args:
            folds: our fold scheme.
            heads: names of our heads.
            standardize: whether ours standardize features, those whose protocol says that they do not apart.
        """
        found = []
        if self.folds != folds:
            found.append("Another protocol: does not compare with the rows above.")
        if self.independent is False:
            found.append("Speakers are shared between training and test.")
        if self.head in heads:
            return found
        ours = OUR_VARIANTS.get(self.head)
        if ours not in heads:
            found.append(f"Another head: {self.head}.")
        elif standardize:
            found.append(f"Features are not standardized there, and they are under our {ours}: compare {self.head}.")
        return found


def published_scores(dataset: str) -> list[PublishedScore]:
    """The scores of a corpus in `configs/published.yaml`, in its order."""
    return [
        PublishedScore(
            dataset=dataset,
            feature=feature,
            head=source["head"],
            protocol=entry["protocol"],
            scores={metric: entry[metric][place] for metric in METRICS if metric in entry},
            source=source["source"],
            address=source["address"],
            folds=entry.get("folds"),
            independent=entry.get("independent"),
        )
        for source in _sources()
        for entry in source["scores"]
        if entry["dataset"] == dataset
        for place, feature in enumerate(source["features"])
    ]


@cache
def _sources() -> list[dict[str, Any]]:
    """The file, read once: a report is written many times."""
    import yaml

    text = (asset_folder("configs") / "published.yaml").read_text(encoding="utf-8")
    found: list[dict[str, Any]] = yaml.safe_load(text)["sources"]
    return found


def published_rows(
    dataset: str, folds: str, heads: Collection[str], metrics: Sequence[str], standardize: bool = True
) -> str:
    """Table rows of a corpus's published scores: a line per protocol, which says where it differs, then its scores.

    Args:
        dataset: the corpus.
        folds: our fold scheme.
        heads: our heads.
        metrics: the columns of scores; feature and head stand before them, and four columns follow.
        standardize: whether our heads standardize features.
    """
    rows, last = "", ""
    for entry in published_scores(dataset):
        about = " ".join([f"Published: {entry.protocol}.", *entry.differences(folds, heads, standardize)])
        title = f"{escape(about)} <cite>{escape(entry.source)}, {escape(entry.address)}</cite>"
        if title != last:
            rows += f'<tr class="published about"><td colspan="{len(metrics) + 6}"><div>{title}</div></td></tr>'
        last = title
        numbers = "".join(
            f'<td class="n">{entry.scores[name]:.1f}</td>' if name in entry.scores else '<td class="n">–</td>'
            for name in metrics
        )
        head = entry.head if entry.head in heads else "theirs"
        rows += (
            f'<tr class="published"><td>{escape(entry.feature)}</td><td>{escape(head)}</td>{numbers}'
            '<td></td><td class="extra"></td><td></td><td></td></tr>'
        )
    return rows
