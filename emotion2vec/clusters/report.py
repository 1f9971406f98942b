"""How clusters are used, and what they know: of each scale inertia, use, entropy, and what labels of clips share.

T: frames. Z: scales. K: clusters. V: values of a fact.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emotion2vec.clusters.settings import Scale
from emotion2vec.documents import MOST_ANNOTATIONS, read_json
from emotion2vec.errors import ConfigError
from emotion2vec.files import write_json
from emotion2vec.units import counted

SELDOM = 0.1
"""Share of what each would have of all frames below which a cluster is seldom used."""


@dataclass(frozen=True)
class ScaleReport:
    """What is to be said of the clusters at one scale.

    Attributes:
        scale: which.
        frames: how many were labelled.
        inertia: mean over frames of the squared distance to the nearest center.
        used: clusters that have a frame.
        seldom: clusters that have one, and less than a tenth of what each would have of all.
        perplexity: exp of the entropy of the clusters' use; K where all are used alike.
        information: normalized mutual information of frames' clusters with each fact of their clips.
    """

    scale: Scale
    frames: int
    inertia: float
    used: int
    seldom: int
    perplexity: float
    information: Mapping[str, float]

    def __str__(self) -> str:
        count, empty = self.scale.count, self.scale.count - self.used
        text = f"{self.scale.shown}: inertia {self.inertia:.4g}, perplexity {self.perplexity:.1f}"
        text += "".join(f", NMI with {name} {value:.3f}" for name, value in self.information.items())
        text += f"; {counted(empty, 'cluster')} of {count} empty" if empty else ""
        return text + (f"; {counted(self.seldom, 'cluster')} seldom used" if self.seldom else "")

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        known = {name: value for name, value in vars(self).items() if name != "scale"}
        return {**asdict(self.scale), **known, "information": dict(self.information)}


def report_of(folder: Path, scales: Sequence[Scale], facts: Mapping[str, Mapping[str, str]]) -> list[ScaleReport]:
    """Report on all scales of a folder of labels, part by part.

    Args:
        folder: whose parts are complete.
        scales: in the order of the labels' columns.
        facts: of clips, by name and by their ids; clips that lack one do not count for it.

    Raises:
        ConfigError: a part cannot be read.
    """
    values = {name: {value: place for place, value in enumerate(sorted({*of.values()}))} for name, of in facts.items()}
    values = {name: places for name, places in values.items() if len(places) > 1}
    uses = [np.zeros(scale.count, np.int64) for scale in scales]
    tables = {name: [np.zeros((len(of), scale.count), np.int64) for scale in scales] for name, of in values.items()}
    inertia = np.zeros(len(scales))
    for labels, clips, lost in _parts(folder):
        inertia += lost
        for column, scale in enumerate(scales):
            uses[column] += np.bincount(labels[:, column], minlength=scale.count)
        lengths = [count for _, _, count in clips]
        for name, places in values.items():
            own = np.repeat([places.get(facts[name].get(clip, ""), -1) for clip, _, _ in clips], lengths)  # (T,)
            known = own >= 0
            for column, scale in enumerate(scales):
                cells = own[known] * scale.count + labels[known, column]
                tables[name][column] += np.bincount(cells, minlength=tables[name][column].size).reshape(-1, scale.count)
    return [
        ScaleReport(
            scale=scale,
            frames=int(use.sum()),
            inertia=float(lost / max(1, use.sum())),
            used=int(np.count_nonzero(use)),
            seldom=int(((use > 0) & (use < SELDOM * use.sum() / scale.count)).sum()),
            perplexity=float(np.exp(entropy(use))),
            information={name: shared_information(of[column]) for name, of in tables.items() if of[column].any()},
        )
        for column, (scale, use, lost) in enumerate(zip(scales, uses, inertia, strict=True))
    ]


def write_report(path: Path, reports: Sequence[ScaleReport]) -> None:
    """Write a report as JSON."""
    write_json(path, [one.to_dict() for one in reports])


def entropy(counts: np.ndarray) -> float:
    """Of a distribution by counts, in nats."""
    shares = counts[counts > 0] / max(1, counts.sum())
    return float(-(shares * np.log(shares)).sum())


def shared_information(table: np.ndarray) -> float:
    """Normalized mutual information of counts (V, K): the information over the mean of both entropies."""
    from sklearn.metrics import mutual_info_score

    mean = (entropy(table.sum(axis=1)) + entropy(table.sum(axis=0))) / 2
    return float(max(0.0, mutual_info_score(None, None, contingency=table)) / mean) if mean else 0.0


def _parts(folder: Path) -> Iterator[tuple[np.ndarray, list[tuple[str, int, int]], np.ndarray]]:
    """Labels (T, Z) of each part, its clips with their first frame and number of frames, and its distances (Z,)."""
    for part in sorted(folder.glob("part_*[0-9]")):
        try:
            document = read_json(part / "clips.json", MOST_ANNOTATIONS)
            yield np.load(part / "labels.npy"), document["clips"], np.array(document["inertia"])
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise ConfigError(f"{part}: cannot be read as labels: {error}; remove it to compute it anew") from error
