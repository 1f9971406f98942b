"""Values of one or several corpora, on one scale."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from emotion2vec.corpora.faults import examples
from emotion2vec.corpora.utterance import Corpus
from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.finetune.entries import scale

Range = tuple[float, float]

UNIT = (0.0, 1.0)
"""What values of several scales are brought to."""

NEAR = 1e-6
"""How far, as a share of its scale, a value may lie beyond it."""


def on_one_scale(
    found: Mapping[str, Corpus], names: Sequence[str], ranges: Sequence[str]
) -> tuple[dict[str, Corpus], list[str]]:
    """Bring each value to one scale over all corpora that have it, as far as their clips do.

    Values of corpora on different scales are brought to 0..1; those on one scale stay as they are.

    Args:
        found: the corpora, by name.
        names: of the values.
        ranges: what `data.ranges` says of scales.

    Returns:
        The corpora, and what is to be said of their values.

    Raises:
        ConfigError: the scales of several corpora are not stated and look different, or a scale is stated of nothing.
        ManifestError: values lie outside of their scale.
    """
    corpora, stated, notes = dict(found), _stated(ranges, list(found), names), []
    for value in names:
        having = {name: one for name, one in corpora.items() if any(value in clip.values for clip in one.utterances)}
        own = {name: stated.get((name, value)) for name in having}
        known = {name: limits for name, limits in own.items() if limits is not None}
        _check_inside(having, value, known)
        if len(known) < len(own) and (known or not _alike(having, value)):
            raise ConfigError(_unstated(having, value, [name for name in own if name not in known]))
        if len(set(known.values())) > 1:
            corpora |= {name: rescaled(corpus, value, known[name], UNIT) for name, corpus in having.items()}
            each = ", ".join(f"{low:g}..{high:g} of {name}" for name, (low, high) in known.items())
            notes.append(f"{value} is brought to 0..1, which predictions are in too: {each}")
    return corpora, notes


def _stated(ranges: Sequence[str], corpora: Sequence[str], targets: Sequence[str]) -> dict[tuple[str, str], Range]:
    """The scale of each value of each corpus, as far as it is stated; the most exact statement counts."""
    rules = {name: (low, high) for name, low, high in filter(None, map(scale, ranges))}
    names = {"", *corpora, *targets, *(f"{name}.{target}" for name in corpora for target in targets)}
    if unknown := sorted(set(rules) - names):
        raise ConfigError(
            f"data.ranges names {examples(unknown)}, expected a corpus ({', '.join(corpora)}), a value "
            f"({', '.join(targets)}) or CORPUS.VALUE"
        )
    found = {}
    for name in corpora:
        for target in targets:
            for rule in (f"{name}.{target}", name, target, ""):
                if rule in rules:
                    found[name, target] = rules[rule]
                    break
    return found


def _limits(corpus: Corpus, target: str) -> Range:
    """Least and greatest value of a corpus."""
    values = [clip.values[target] for clip in corpus.utterances if target in clip.values]
    return min(values), max(values)


def _alike(corpora: Mapping[str, Corpus], target: str) -> bool:
    """Whether values seem to be of one scale: their limits, rounded outwards to whole numbers, are the same."""
    limits = [_limits(corpus, target) for corpus in corpora.values()]
    return len({(math.floor(low), math.ceil(high)) for low, high in limits}) == 1


def _unstated(corpora: Mapping[str, Corpus], target: str, lacking: Sequence[str]) -> str:
    limits = {name: _limits(corpus, target) for name, corpus in corpora.items()}
    each = ", ".join(f"from {low:g} to {high:g} in {name}" for name, (low, high) in limits.items())
    example = ",".join(f"{name}={math.floor(low)}..{math.ceil(high)}" for name, (low, high) in limits.items())
    return (
        f"{target} goes {each}, and the scale of {' and '.join(lacking)} is not stated; expected the scales of all, "
        f"such as data.ranges=[{example}], or [1..5] for one of all"
    )


def _check_inside(corpora: Mapping[str, Corpus], target: str, known: Mapping[str, Range]) -> None:
    """Check that values lie on their scales.

    Raises:
        ManifestError: some do not.
    """
    faults = []
    for name, (low, high) in known.items():
        slack = NEAR * (high - low)
        beyond = [
            f"{clip.stretch} ({clip.values[target]:g})"
            for clip in corpora[name].utterances
            if target in clip.values and not low - slack <= clip.values[target] <= high + slack
        ]
        if beyond:
            faults.append(f"{name}: {target} of {len(beyond)} clips is not in {low:g}..{high:g}: {examples(beyond)}")
    if faults:
        raise ManifestError("; ".join(faults) + "; expected data.ranges that hold all values")


def scale_of(value: str, corpora: Sequence[str], values: Sequence[str], ranges: Sequence[str]) -> Range | None:
    """The scale that a value is on after `on_one_scale`, as far as it is stated.

    Args:
        value: which one.
        corpora: names of those that have it.
        values: names of all.
        ranges: what `data.ranges` says of scales.
    """
    stated = _stated(ranges, corpora, values)
    known = {stated.get((name, value)) for name in corpora}
    if None in known or not known:
        return None
    return known.pop() if len(known) == 1 else UNIT


def rescaled(corpus: Corpus, value: str, before: Range, after: Range) -> Corpus:
    """The corpus with a value brought from one scale to another."""
    (low, high), (least, most) = before, after
    factor = (most - least) / (high - low)
    clips = [
        replace(clip, values={**clip.values, value: least + factor * (clip.values[value] - low)})
        if value in clip.values
        else clip
        for clip in corpus.utterances
    ]
    return replace(corpus, utterances=tuple(clips))
