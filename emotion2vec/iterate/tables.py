"""What a round leaves: a row for each clip of the pool, and counts of clips, hours, reasons and scores.

N: clips. K: classes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from emotion2vec.corpora.utterance import Listing
from emotion2vec.errors import ConfigError
from emotion2vec.extraction.writers.spreadsheets import open_table
from emotion2vec.files import complete_file, write_json
from emotion2vec.iterate.filters import KEPT, NO_CLASS, Opinions
from emotion2vec.iterate.judging import POOLED
from emotion2vec.iterate.sheets import write_tsv
from emotion2vec.tasks.significance import Comparison

LABELS, CLIPS, SCORES, ROUND = "labels.parquet", "clips.tsv", "scores.tsv", "round.json"
"""Files of a round: a row for each clip; for each class; for each held-out corpus; and all of it in numbers."""

ROUNDS = "rounds.tsv"
"""In the folder of all rounds: a row for each."""


def write_labels(path: Path, found: Listing, opinions: Opinions, reasons: np.ndarray, classes: Sequence[str]) -> None:
    """Write what became of every clip: label, confidence, scores, what other models say, and kept or why not.

    Args:
        path: of the table.
        found: the pool.
        opinions: of its N clips.
        reasons: (N,) why they are refused.
        classes: K.

    Raises:
        OSError: the disk does not take it.
    """
    columns: dict[str, type] = {"id": str, "file": str, "start": float, "seconds": float}
    columns |= {"label": str, "confidence": float, "kept": int, "reason": str}
    columns |= {f"score:{name}": float for name in classes}
    further = {"windows": opinions.agreeing, "second": opinions.second, "text": opinions.text}
    columns |= {name: float if name == "windows" else str for name, rows in further.items() if rows is not None}
    numbers, confidence = opinions.numbers, opinions.confidence
    named = dict(enumerate(classes)) | {NO_CLASS: "none"}
    with complete_file(path) as partial, closing(open_table(partial, path.suffix, columns)) as table:
        for row, item in enumerate(found.utterances):
            heard = bool(opinions.heard[row])
            cells = [item.id, item.file, item.start, float(opinions.seconds[row]) if heard else None]
            cells += [classes[numbers[row]], float(confidence[row])] if heard else [None, None]
            cells += [int(reasons[row] == KEPT), reasons[row] or None]
            cells += [float(value) if heard else None for value in opinions.scores[row]]
            if opinions.agreeing is not None:
                cells.append(float(opinions.agreeing[row]) if heard else None)
            cells += [named.get(int(rows[row])) for rows in (opinions.second, opinions.text) if rows is not None]
            table.add(cells)


def counts_of(opinions: Opinions, reasons: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """Clips and hours of a round: all, heard, kept; by class, labelled so and kept; and by reason of refusal."""
    numbers, kept = opinions.numbers, reasons == KEPT
    by_class = {
        name: {
            "labelled": _amount(opinions, own),
            "kept": _amount(opinions, own & kept),
            "reasons": dict(sorted(Counter(reasons[own & ~kept].tolist()).items())),
        }
        for number, name in enumerate(classes)
        for own in [opinions.heard & (numbers == number)]
    }
    refusals = sorted(set(reasons[~kept].tolist()))
    return {
        "pool": _amount(opinions, np.ones(len(kept), bool)),
        "heard": _amount(opinions, opinions.heard),
        "kept": _amount(opinions, kept),
        "by class": by_class,
        "refused": {reason: _amount(opinions, reasons == reason) for reason in refusals},
    }


def _amount(opinions: Opinions, which: np.ndarray) -> dict[str, Any]:
    return {"clips": int(which.sum()), "hours": round(float(opinions.seconds[which].sum()) / 3600, 4)}


def write_round(folder: Path, document: Mapping[str, Any]) -> None:
    """Write the tables of a round, `round.json` last: a round that has it is done.

    Raises:
        OSError: the disk does not take them.
    """
    pool, scores = document["clips"], document["scores"]
    if pool:
        reasons = sorted({reason for row in pool["by class"].values() for reason in row["reasons"]})
        rows = [["class", "labelled", "labelled hours", "kept", "kept hours", *reasons]]
        for name, row in pool["by class"].items():
            amounts = [row[what][of] for what in ("labelled", "kept") for of in ("clips", "hours")]
            rows.append([name, *amounts, *(row["reasons"].get(reason, 0) for reason in reasons)])
        total = [pool[what][of] for what in ("heard", "kept") for of in ("clips", "hours")]
        sums = [sum(row["reasons"].get(reason, 0) for row in pool["by class"].values()) for reason in reasons]
        write_tsv(folder / CLIPS, [*rows, ["all", *total, *sums]])
    names = ["clips", "units", "WA", "UA", "WF1", "MF1"]
    rows = [["corpus", *names, "UA low", "UA high", "UA less that of the last accepted", "low", "high"]]
    for corpus, row in scores.items():
        against = document["compared"].get(corpus) or {"difference": "", "interval": ["", ""]}
        rows.append(
            [corpus, *(row[n] for n in names), *row["UA interval"], against["difference"], *against["interval"]]
        )
    write_tsv(folder / SCORES, rows)
    write_json(folder / ROUND, document)


def write_rounds(folder: Path, documents: Sequence[Mapping[str, Any]]) -> None:
    """Write a row for each round.

    Raises:
        OSError: the disk does not take it.
    """
    corpora = list(documents[0]["scores"])
    rows = [
        ["round", "accepted", "clips of the pool", "hours", "kept clips", "kept hours", *(f"UA {c}" for c in corpora)]
    ]
    for one in documents:
        pool = one["clips"] or {}
        amounts = [pool.get(what, {}).get(of, 0) for what in ("pool", "kept") for of in ("clips", "hours")]
        accepted = "yes" if one["accepted"] else "no"
        rows.append([one["round"], accepted, *amounts, *(one["scores"][c]["UA"] for c in corpora)])
    write_tsv(folder / ROUNDS, rows)


def read_round(folder: Path) -> dict[str, Any] | None:
    """What a round that is done left; None where it is not done.

    Raises:
        ConfigError: it cannot be read.
    """
    path = folder / ROUND
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        complete = {"round", "accepted", "clips", "scores"} <= found.keys()
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError):
        complete = False
    if not complete:
        raise ConfigError(f"{path}: cannot be read as what a round left; expected a JSON document of ours")
    return found


def told(found: Mapping[str, Comparison]) -> dict[str, Any]:
    """Comparisons as documents have them."""
    return {
        name: {key: _rounded(value) for key, value in asdict(one).items() if key != "least_p"}
        for name, one in found.items()
    }


def _rounded(value: Any) -> Any:
    return [round(x, 3) for x in value] if isinstance(value, tuple | list) else round(value, 4)


def lines_of(document: Mapping[str, Any]) -> list[str]:
    """A round in words."""
    lines, pool = [], document["clips"]
    if pool:
        amounts = [f"{pool[what]['clips']} clips ({pool[what]['hours']:g} h) {what}" for what in ("heard", "kept")]
        kept = ", ".join(f"{name} {row['kept']['clips']}" for name, row in pool["by class"].items())
        refused = ", ".join(f"{reason} {row['clips']}" for reason, row in pool["refused"].items())
        lines += [f"pool: {', '.join(amounts)}", f"kept: {kept}", f"refused: {refused or 'none'}"]
    for corpus, row in document["scores"].items():
        low, high = row["UA interval"]
        against = document["compared"].get(corpus)
        lines.append(f"held out of {corpus}: {row['UA']:.1f} % UA ({low:.1f} to {high:.1f}){_against(against)}")
    if POOLED in document["compared"]:
        lines.append(f"mean over held-out corpora{_against(document['compared'][POOLED])}")
    return lines


def card_section(document: Mapping[str, Any], sources: Sequence[str]) -> str:
    """What a model's card says of the round that it is of, in Markdown.

    Args:
        document: of the round.
        sources: of the pool.
    """
    lines = ["", "## Iterations", ""]
    if document["clips"]:
        kept = document["clips"]["kept"]
        where = ", ".join(f"`{source}`" for source in sources)
        lines += [
            f"The model of round {document['round']} of `emotion2vec iterate`. Of the clips that train, "
            f"{kept['clips']} ({kept['hours']:g} h) were labelled by the model of the round before and kept by "
            f"filters; they are of {where}, and no person labelled them."
        ]
    else:
        lines.append("The first model of `emotion2vec iterate`, of human labels alone.")
    lines += ["", "Clips that people labelled and no round learnt from (left alone above):", ""]
    lines += ["| corpus | clips | WA | UA | 95 % of UA |", "| --- | --- | --- | --- | --- |"]
    for corpus, row in document["scores"].items():
        low, high = row["UA interval"]
        lines.append(f"| {corpus} | {row['clips']} | {row['WA']:.1f} | {row['UA']:.1f} | {low:.1f} to {high:.1f} |")
    return "\n".join(lines) + "\n"


def _against(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    low, high = found["interval"]
    return f", {found['difference']:+.1f} ({low:+.1f} to {high:+.1f}) to the last accepted round"
