"""Splits that lists prescribe: which utterances train, choose or test, or in which fold they are tested."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from emotion2vec.corpora.faults import examples
from emotion2vec.corpora.lists.columns import Names
from emotion2vec.corpora.lists.rows import span_of
from emotion2vec.corpora.lists.workbooks import read_records
from emotion2vec.corpora.names import normal, span_name, without_suffix
from emotion2vec.corpora.utterance import Corpus, Utterance
from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.units import counted

PARTS = ("train", "valid", "test")

_SPELLED = {
    "train": ("train", "training"),
    "valid": ("valid", "validation", "val", "dev", "development"),
    "test": ("test", "testing", "eval"),
}

PART_OF = {name: part for part, names in _SPELLED.items() for name in names}
"""What corpora call a part of a split -> which of `PARTS` it is."""


def parts_of(clips: Sequence[Utterance]) -> dict[str, np.ndarray] | None:
    """Positions of the utterances of each part of a prescribed split, in rising order; None where none is prescribed.

    Of joined corpora those that prescribe nothing train.

    Raises:
        ConfigError: names of splits that are not known, or a corpus prescribes the split of some utterances only.
    """
    if all(clip.split is None for clip in clips):
        return None
    names = [PART_OF.get((name or "train").strip().lower()) for name in prescribed(clips, "split")]
    if unknown := sorted({str(clip.split) for clip, name in zip(clips, names, strict=True) if name is None}):
        raise ConfigError(f"split is {examples(unknown)}, expected train, valid or test")
    return {part: np.flatnonzero([name == part for name in names]) for part in PARTS}


def prescribed(clips: Sequence[Utterance], what: str) -> list[str | None]:
    """The `split` or `fold` of all utterances; None in corpora where no utterance has one.

    Raises:
        ConfigError: a corpus has it of some utterances only.
    """
    values: list[str | None] = [getattr(clip, what) for clip in clips]
    having = {clip.corpus for clip, value in zip(clips, values, strict=True) if value is not None}
    without = [clip.file for clip, value in zip(clips, values, strict=True) if value is None and clip.corpus in having]
    if without:
        why = "these folds need" if what == "fold" else "others have"
        raise ConfigError(
            f"{len(without)} of {len(clips)} clips have no {what}, which {why}: {examples(without)}; expected all"
        )
    return values


def of_part(corpus: Corpus, part: str) -> Corpus:
    """Only the utterances of one part of a prescribed split, or of one fold.

    Args:
        corpus: utterances, of which those without a split or fold are of no part.
        part: `train`, `valid` or `test`, however it is spelled, or another name that the list has.

    Raises:
        ConfigError: no utterance is of it.
    """
    given = [{_part(name) for name in (clip.split, clip.fold) if name} for clip in corpus.utterances]
    kept = [_part(part) in names for names in given]
    if not any(kept):
        counts = Counter(name for names in given for name in names)
        there = ", ".join(f"{name} ({counted(count, 'clip')})" for name, count in sorted(counts.items()))
        expected = f"expected one that there is: {there}" if there else "and no clip has any, expected a column split"
        raise ConfigError(f"{corpus.name}: no clip is of the part {part!r}, {expected}")
    left = corpus.keep(kept, {})
    without = [clip.file for clip, names in zip(corpus.utterances, given, strict=True) if not names]
    count = counted(len(without), "clip is", "clips are")
    note = f"{count} of no part of the split, and left out: {examples(without)}"
    return replace(left, warnings=(*left.warnings, *([note] if without else [])))


def _part(name: str) -> str:
    """One of `PARTS`, or the name as it is."""
    return PART_OF.get(name.strip().lower(), name.strip())


def with_splits(corpora: Mapping[str, Corpus], path: str | Path) -> dict[str, Corpus]:
    """Give utterances the splits or folds of a list, in place of their own.

    Args:
        corpora: by name. Those of which the list names nothing stay as they are.
        path: CSV, TSV or XLSX with the columns `file` or `id`, as the corpus has them (or the file's absolute path),
            with the corpus's name and `/` in front where several have it; and `split` or `fold`. Columns `start`
            and `end` tell segments of a file apart; without them a file's segments go together.

    Raises:
        ManifestError: the list cannot be read, names clips that no corpus has, gives a clip two splits, knows other
            splits than train, valid and test, or does not name all clips of a corpus; all at once.
    """
    listed = _Listed(Path(path))
    places = _Places(corpora)
    given: dict[tuple[str, int], str] = {}
    unknown: list[str] = []
    for name, part in listed.rows():
        found = places.find(name)
        if found is None:
            unknown.append(name)
            continue
        for place in found:
            if given.setdefault(place, part) != part:
                listed.faults.append(f"{name} is in {given[place]} and in {part}, expected one")
    if unknown:
        count = counted(len(unknown), "clip is", "clips are")
        listed.faults.append(f"{count} in no corpus: {examples(unknown)}, expected names that it has")
    named = {name for name, _ in given}
    lacking = [
        clip.file
        for name in corpora
        if name in named
        for number, clip in enumerate(corpora[name].utterances)
        if (name, number) not in given
    ]
    if lacking:
        those = examples(sorted(named))
        count = counted(len(lacking), f"clip of {those} is", f"clips of {those} are")
        listed.faults.append(f"{count} not named: {examples(lacking)}")
    if listed.faults:
        raise ManifestError(f"split {path}: {'; '.join(listed.faults)}")
    return {
        name: replace(
            corpus, utterances=tuple(listed.place(clip, given[name, n]) for n, clip in enumerate(corpus.utterances))
        )
        if name in named
        else corpus
        for name, corpus in corpora.items()
    }


@dataclass
class _Listed:
    """A list of splits, and what is wrong with it.

    Raises:
        ManifestError: it cannot be read, or lacks a column.
    """

    path: Path
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.path.is_file():
            what = "it is a folder, expected a CSV, TSV or XLSX" if self.path.is_dir() else "no such file"
            raise ManifestError(f"split {self.path}: cannot be opened: {what}")
        found, unreadable = read_records(self.path)
        table = Names().table(self.path, found)
        columns = [name.lower() for name in table.columns]
        names = [name for name in ("file", "id") if name in columns]
        kinds = [name for name in ("split", "fold") if name in columns]
        if not names or len(kinds) != 1:
            raise ManifestError(
                f"split {self.path}: columns are {', '.join(found.columns) or 'none'}; expected file or id, and one of "
                "split and fold"
            )
        if not table.records:
            raise ManifestError(f"split {self.path}: it has no rows")
        self._name, self._kind = names[0], kinds[0]
        self._records = [(line, {name.lower(): cell for name, cell in row.items()}) for line, row in table.records]
        self.faults += [str(fault) for fault in [*unreadable, *table.faults]]

    def rows(self) -> Iterator[tuple[str, str]]:
        """Name of each clip, and its split or fold."""
        unknown: dict[str, int] = {}
        for line, cells in self._records:
            name, part = (cells.get(column, "").strip() for column in (self._name, self._kind))
            if self._kind == "split":
                part = PART_OF.get(part.lower(), f"?{part}")
            if not name or not part or part.startswith("?"):
                unknown.setdefault(f"{self._kind} {part.removeprefix('?')!r}" if name else "a clip without name", line)
                continue
            try:
                stretch = span_name(*span_of(cells))
            except ValueError as error:
                self.faults.append(f"line {line}: {error}")
                continue
            yield (without_suffix(name) + stretch if stretch else name), part
        if unknown:
            found = examples(f"{what} on line {line}" for what, line in unknown.items())
            expected = "train, valid or test" if self._kind == "split" else "a fold for each clip"
            self.faults.append(f"found {found}, expected {expected}")

    def place(self, clip: Utterance, part: str) -> Utterance:
        """The clip in its split or fold."""
        return replace(clip, split=None, fold=part) if self._kind == "fold" else replace(clip, split=part, fold=None)


class _Places:
    """Where the clips of corpora are, by all that they may be called."""

    def __init__(self, corpora: Mapping[str, Corpus]) -> None:
        self._found: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for name, corpus in corpora.items():
            for number, clip in enumerate(corpus.utterances):
                stretch = without_suffix(clip.file) + span_name(clip.start, clip.duration)
                for called in {clip.file, clip.id, str(clip.audio), stretch, *([without_suffix(clip.file)])}:
                    self._found[normal(called)].append((name, number))
                    self._found[normal(f"{name}/{called}")].append((name, number))
            for file in corpus.left_out:  # named rightly, though they are of no use
                for called in (file, without_suffix(file), f"{name}/{file}"):
                    self._found.setdefault(normal(called), [])

    def find(self, name: str) -> list[tuple[str, int]] | None:
        """Corpus and position of the clips of a name; None where there is none, or they are of several corpora."""
        wanted = normal(os.path.normpath(name))
        found = self._found.get(wanted, self._found.get(without_suffix(wanted)))
        return found if found is None or len({corpus for corpus, _ in found}) < 2 else None
