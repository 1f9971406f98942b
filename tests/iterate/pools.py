"""Made-up speech for iterations, and plans that take seconds."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from finetune.talkers import quick

from emotion2vec.iterate.config import IteratePlan, load_plan


@dataclass(frozen=True)
class Speech:
    """Tables of clips that people labelled and of the pool, which has no labels, and the pool's hidden labels."""

    human: Path
    pool: Path
    hidden: dict[str, str]


def divide_talkers(table: Path, labelled: int) -> Speech:
    """Two tables beside that of all talkers: of so many talkers, and of the others, with a text in place of a label."""
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    folder = table.parent
    human, pool = folder / "human.csv", folder / "pool.csv"
    lines = ["file,emotion,speaker,gender"]
    unlabelled = ["file,text"]
    hidden = {}
    for row in rows:
        if int(row["speaker"][1:]) < labelled:
            lines.append(",".join(row.values()))
        else:
            unlabelled.append(f"{row['file']},so {row['emotion']}")
            hidden[Path(row["file"]).stem] = row["emotion"]
    human.write_text("\n".join(lines) + "\n")
    pool.write_text("\n".join(unlabelled) + "\n")
    return Speech(human, pool, hidden)


def overrides(speech: Speech, model: Path, run: Path, *more: str) -> list[str]:
    """Settings of iterations that take a few seconds; a round of them learns its three tones."""
    quickest = ["finetune.strategy=frozen", "finetune.solve=64", "augment.gain_prob=0", "optim.max_updates=4"]
    pool = [f"pool.sources={speech.pool}", "rounds.count=1", "filters.quantile=0.25", "log.progress=false"]
    return [*quick(speech.human, model, run), *quickest, "finetune.head=new", *pool, *more]


def plan_of(speech: Speech, model: Path, run: Path, *more: str) -> IteratePlan:
    return load_plan(None, overrides(speech, model, run, *more))
