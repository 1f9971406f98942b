"""Fold schemes: who is tested when."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from emotion2vec.corpora.faults import examples
from emotion2vec.corpora.prescribed import parts_of, prescribed
from emotion2vec.corpora.utterance import Corpus, Utterance
from emotion2vec.errors import ConfigError
from emotion2vec.seeding import keyed_seed
from emotion2vec.units import counted

MOST_SINGLE = 12
"""Up to this many speakers or sessions, each is a fold of its own."""

GROUPS = 10
"""Folds of whole speakers or sessions when there are more."""

GROUPS_OF_SPEAKERS = re.compile(r"speaker:([2-9]|[1-9]\d+)")

RANDOM_FOLDS = 5

VALIDATION_SHARE = 0.2
"""Share of the training speakers (or clips) that is held out to choose epochs and settings."""


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One train/test split; the arrays hold positions in the list of clips, in rising order."""

    name: str
    train: np.ndarray
    test: np.ndarray
    valid: np.ndarray | None = None
    """Validation clips that the corpus or the scheme prescribes (not part of `train`); None where we choose them."""
    test_speakers: tuple[str, ...] = ()
    shared_speakers: tuple[str, ...] = ()
    """Speakers of the test who are also in training or validation: their scores are not speaker-independent."""

    @property
    def fitted(self) -> np.ndarray:
        """Positions of all clips that a head may learn or choose from: training, and validation if prescribed."""
        return self.train if self.valid is None else np.concatenate([self.train, self.valid])


def make_folds(corpus: Corpus, scheme: str) -> list[Fold]:
    """Split clips into folds by a named scheme; the same clips always give the same folds.

    Args:
        corpus: the labelled clips, with the folds that it brings along, if any.
        scheme: one of
            `speaker`: leave one speaker out; with more than 12 speakers, 10 balanced groups of whole speakers;
            `speaker:K`: K balanced groups of whole speakers;
            `8-1-1`: ten speakers, or ten such groups: eight train, the next one validates, one tests;
            `session`: leave one session out; with more than 12 sessions, 10 balanced groups of whole sessions;
            `session-80-20`: the same, and a fifth of the training clips, drawn per label, validates, as in the paper;
            `official`: the clips' own `fold` or `split`; joined corpora that have none train;
            `emobox`: the folds of EmoBox's metadata;
            `random`: 5 folds, stratified by label, speakers shared;
            `corpus`, `language`: leave one of several joined corpora, or languages, out.

    Raises:
        ConfigError: the scheme is not known, or the clips lack what it needs; all faults in one message.
    """
    if fault := scheme_fault(scheme):
        raise ConfigError(f"folds {fault}")
    if scheme == "emobox":
        return _brought_folds(corpus)
    if groups := GROUPS_OF_SPEAKERS.fullmatch(scheme):
        return _speaker_groups(corpus.utterances, scheme, int(groups[1]))
    return _MAKERS[scheme](corpus.utterances)


def scheme_fault(scheme: str) -> str | None:
    """What is wrong with the name of a scheme, or None."""
    if scheme in SCHEMES or GROUPS_OF_SPEAKERS.fullmatch(scheme):
        return None
    return f"is {scheme!r}, expected one of {', '.join(SCHEMES)}, or speaker:K for K groups of whole speakers"


def _brought_folds(corpus: Corpus) -> list[Fold]:
    if not corpus.splits:
        raise ConfigError("folds is 'emobox' and the corpus brings none, expected --emobox DATA_DIR --audio-root DIR")
    folds, faults = [], []
    for name, parts in corpus.splits.items():
        if lacking := [part for part in ("train", "test") if not parts.get(part)]:
            faults.append(f"{name} has no clip to {' or '.join(lacking)} on")
            continue
        rows = {part: np.array(sorted(positions), np.int64) for part, positions in parts.items()}
        folds.append(fold_of(corpus.utterances, name, rows["train"], rows["test"], rows.get("valid")))
    if faults:
        raise ConfigError("folds is 'emobox': " + "; ".join(faults))
    return folds


def _speaker_folds(clips: Sequence[Utterance]) -> list[Fold]:
    names = _required(clips, "speaker")
    _check_count(names, "speaker", "speaker", 2, "; folds 'random' works within one speaker")
    return _leave_one_out(clips, _grouped(names))


def _speaker_groups(clips: Sequence[Utterance], scheme: str, groups: int) -> list[Fold]:
    names = _required(clips, "speaker")
    _check_count(names, scheme, "speaker", groups)
    return _leave_one_out(clips, _grouped(names, groups))


def _eight_one_one(clips: Sequence[Utterance]) -> list[Fold]:
    """Ten groups of speakers in the order of their names: one tests, the next validates, eight train."""
    names = _required(clips, "speaker")
    _check_count(names, "8-1-1", "speaker", GROUPS)
    members = np.array(names if len(set(names)) == GROUPS else _grouped(names, GROUPS))
    order = np.unique(members).tolist()
    folds = []
    for name, following in zip(order, order[1:] + order[:1], strict=True):
        tests, validates = members == name, members == following
        rows = [np.flatnonzero(part) for part in (~(tests | validates), tests, validates)]
        folds.append(fold_of(clips, name, *rows))
    return folds


def _grouped(names: Sequence[str], groups: int | None = None) -> list[str]:
    """The group of each clip: its speaker or session itself where these are few, else one of some balanced groups."""
    if groups is None and len(set(names)) <= MOST_SINGLE:
        return list(names)
    group_of = balanced_groups(Counter(names), groups or GROUPS)
    width = len(str(groups or GROUPS))
    return [f"group-{group_of[name] + 1:0{width}d}" for name in names]


def _check_count(names: Sequence[str], scheme: str, kind: str, least: int, advice: str = "") -> None:
    found = sorted(set(names))
    if len(found) < least:
        raise ConfigError(
            f"folds is {scheme!r} and the clips are of {len(found)} {kind} ({examples(found)}), expected at least "
            f"{least}{advice}"
        )


def balanced_groups(counts: dict[str, int], groups: int) -> dict[str, int]:
    """Share out speakers so that groups hold about as many clips: the largest speaker first, to the emptiest group."""
    sizes = [0] * groups
    group_of: dict[str, int] = {}
    for name in sorted(counts, key=lambda name: (-counts[name], name)):
        group = sizes.index(min(sizes))
        group_of[name] = group
        sizes[group] += counts[name]
    return group_of


def _session_folds(clips: Sequence[Utterance]) -> list[Fold]:
    sessions = _required(clips, "session")
    _check_count(sessions, "session", "session", 2)
    return _leave_one_out(clips, _grouped(sessions))


def _session_80_20(clips: Sequence[Utterance]) -> list[Fold]:
    folds = []
    for fold in _session_folds(clips):
        random = np.random.default_rng(keyed_seed("session-80-20", fold.name))
        validates = stratified_fold([clips[i].label for i in fold.train], round(1 / VALIDATION_SHARE), random) == 0
        folds.append(fold_of(clips, fold.name, fold.train[~validates], fold.test, fold.train[validates]))
    return folds


def _group_folds(field: str) -> Callable[[Sequence[Utterance]], list[Fold]]:
    """Leave one corpus, or one language, out: training has heard nothing of it."""

    def make(clips: Sequence[Utterance]) -> list[Fold]:
        groups = _required(clips, field)
        if len(set(groups)) < 2:
            raise ConfigError(f"folds is '{field}' and every clip is of {field} {groups[0]}, expected at least 2")
        return _leave_one_out(clips, groups)

    return make


def _official_folds(clips: Sequence[Utterance]) -> list[Fold]:
    has_fold = any(clip.fold is not None for clip in clips)
    has_split = any(clip.split is not None for clip in clips)
    if has_fold and has_split:
        raise ConfigError("folds is 'official' and clips have both a fold and a split, expected one of the two")
    if has_split:
        return [_split_fold(clips)]
    if not has_fold:
        raise ConfigError(
            "folds is 'official' and clips have neither a fold nor a split, expected a table with a column `fold`, or "
            "`split` of train, valid and test"
        )
    folds = prescribed(clips, "fold")
    names = sorted({name for name in folds if name is not None})
    if len(names) < 2:
        raise ConfigError(f"folds is 'official' and every clip is of fold {names[0]}, expected at least 2")
    members = np.array([name or "" for name in folds])  # corpora that prescribe nothing train in every fold
    return [fold_of(clips, name, np.flatnonzero(members != name), np.flatnonzero(members == name)) for name in names]


def _split_fold(clips: Sequence[Utterance]) -> Fold:
    parts = parts_of(clips)
    assert parts is not None
    if lacking := [part for part in ("train", "test") if not parts[part].size]:
        raise ConfigError(f"folds is 'official': {'; '.join(f'no clip has split {part}' for part in lacking)}")
    return fold_of(clips, "test", parts["train"], parts["test"], parts["valid"] if parts["valid"].size else None)


def _random_folds(clips: Sequence[Utterance]) -> list[Fold]:
    if len(clips) < RANDOM_FOLDS:
        raise ConfigError(f"folds is 'random' with {counted(len(clips), 'clip')}, expected at least {RANDOM_FOLDS}")
    random = np.random.default_rng(keyed_seed("random folds"))
    numbers = stratified_fold([clip.label for clip in clips], RANDOM_FOLDS, random)
    return _leave_one_out(clips, [f"random-{number + 1}" for number in numbers])


_MAKERS: dict[str, Callable[[Sequence[Utterance]], list[Fold]]] = {
    "speaker": _speaker_folds,
    "8-1-1": _eight_one_one,
    "session": _session_folds,
    "session-80-20": _session_80_20,
    "official": _official_folds,
    "random": _random_folds,
    "corpus": _group_folds("corpus"),
    "language": _group_folds("language"),
}

SCHEMES = (*_MAKERS, "emobox")
"""Fold schemes by the name that `--folds` takes."""


def stratified_fold(labels: Sequence[str | None], folds: int, random: np.random.Generator) -> np.ndarray:
    """Deal each label's items, shuffled, to folds in turn; the turn runs on from label to label, so sizes stay even."""
    order = np.array([], dtype=np.int64)
    for label in sorted(set(labels), key=lambda label: label or ""):
        order = np.concatenate([order, random.permutation(np.flatnonzero([item == label for item in labels]))])
    numbers = np.empty(len(labels), dtype=np.int64)
    numbers[order] = np.arange(len(labels)) % folds
    return numbers


def _leave_one_out(clips: Sequence[Utterance], groups: Sequence[str]) -> list[Fold]:
    members = np.array(groups)
    return [
        fold_of(clips, str(name), np.flatnonzero(members != name), np.flatnonzero(members == name))
        for name in np.unique(members)
    ]


def fold_of(
    clips: Sequence[Utterance], name: str, train: np.ndarray, test: np.ndarray, valid: np.ndarray | None = None
) -> Fold:
    """A fold of utterances at some positions, with what its test shares with the others."""
    others = train if valid is None else np.concatenate([train, valid])
    tested, trained = ({clips[i].speaker for i in rows} - {None} for rows in (test, others))
    return Fold(
        name=name,
        train=train,
        test=test,
        valid=valid,
        test_speakers=tuple(sorted(str(speaker) for speaker in tested)),
        shared_speakers=tuple(sorted(str(speaker) for speaker in tested & trained)),
    )


def _required(clips: Sequence[Utterance], field: str) -> list[str]:
    """The field of every clip, or one error that counts the clips without it."""
    values = [getattr(clip, field) for clip in clips]
    without = [clip.file for clip, value in zip(clips, values, strict=True) if value is None]
    if without:
        raise ConfigError(
            f"{len(without)} of {len(clips)} clips have no {field}, which these folds need: {examples(without)}; "
            f"give the table a column `{field}` or choose other folds"
        )
    return values
