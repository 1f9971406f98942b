"""The scales of the values that a model learnt, kept beside it: others are brought to them, or odd limits are said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from emotion2vec.corpora.utterance import Corpus
from emotion2vec.documents import read_json
from emotion2vec.finetune.config import FinetuneConfig
from emotion2vec.finetune.scales import Range, rescaled, scale_of

BEYOND = 0.5
"""How far values may go beyond those learnt from, as a share of the distance between these, before it is said."""


def learnt_scales(config: FinetuneConfig, corpus: Corpus) -> dict[str, dict[str, Range]]:
    """Of each value that a run learns: `seen`, its least and greatest one, and `scale`, where it is stated.

    Args:
        config: of the run.
        corpus: all of its speech.
    """
    names = [*config.data.targets, *config.joint.columns[1]]
    found = {name: seen for name in names if (seen := _seen(corpus, name)) is not None}
    stated = {name: scale_of(name, _having(corpus, name), names, config.data.ranges) for name in found}
    return {name: {"seen": seen} | ({"scale": on} if (on := stated[name]) else {}) for name, seen in found.items()}


def as_learnt(facts: Path, corpus: Corpus, names: Sequence[str], ranges: Sequence[str]) -> Corpus:
    """Speech with its values on the scales of a model, as far as both are stated; what is odd of others is a warning.

    Args:
        facts: the file that says what the model learnt; nothing is done where there is none.
        corpus: labelled speech.
        names: of the model's values.
        ranges: what `data.ranges` says of the speech.
    """
    learnt, notes = _read(facts), []
    for name in names:
        seen = _seen(corpus, name)
        if name not in learnt or seen is None:
            continue
        before, known = learnt[name]
        here = scale_of(name, _having(corpus, name), names, ranges)
        if known is not None and here is not None:
            if here != known:
                corpus = rescaled(corpus, name, here, known)
                notes.append(f"{name} of {_told(here)} is brought to {_told(known)}, the scale that the model learnt")
        elif _apart(seen, before):
            notes.append(
                f"{name} goes from {_told(seen, ' to ')} here and from {_told(before, ' to ')} in what "
                "the model learnt from: scores compare two scales where these are not one; data.ranges says both"
            )
    return replace(corpus, warnings=(*corpus.warnings, *notes))


def _read(facts: Path) -> dict[str, tuple[Range, Range | None]]:
    """What was seen of each value, and its scale where it was stated; nothing where the file says no such thing."""
    try:
        found = {name: (_limits(one["seen"]), one.get("scale")) for name, one in read_json(facts)["scales"].items()}
        return {name: (seen, None if scale is None else _limits(scale)) for name, (seen, scale) in found.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}


def _limits(values: Sequence[float]) -> Range:
    low, high = values
    return float(low), float(high)


def _seen(corpus: Corpus, name: str) -> Range | None:
    """Least and greatest one of a value."""
    values = [clip.values[name] for clip in corpus.utterances if name in clip.values]
    return (min(values), max(values)) if values else None


def _having(corpus: Corpus, name: str) -> list[str]:
    """The corpora whose clips have a value."""
    return sorted({clip.corpus or corpus.name for clip in corpus.utterances if name in clip.values})


def _apart(here: Range, learnt: Range) -> bool:
    """Whether values hardly are on the scale of others: they go far beyond these, or never come among them."""
    (low, high), (least, most) = here, learnt
    slack = BEYOND * (most - least)
    return low < least - slack or high > most + slack or high < least or low > most


def _told(limits: Sequence[float], between: str = "..") -> str:
    return f"{limits[0]:g}{between}{limits[1]:g}"
