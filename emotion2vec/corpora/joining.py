"""Several corpora as one, for testing on corpora and languages that training never heard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from emotion2vec.corpora.faults import examples
from emotion2vec.corpora.labels import DOUBTFUL, SYNONYMS, simple
from emotion2vec.corpora.lists.jsonlines import json_object
from emotion2vec.corpora.lists.lines import read_lines
from emotion2vec.corpora.lists.rows import collect
from emotion2vec.corpora.names import normal, without_suffix
from emotion2vec.corpora.utterance import Corpus, Utterance
from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.units import counted


@dataclass(frozen=True, kw_only=True)
class Part:
    """A corpus to join.

    Attributes:
        name: unlike those of the other parts.
        corpus: its clips.
        language: what is spoken, for leaving a language out.
        split: `train`, `valid` or `test`, for folds `official`; None for what its clips say themselves.
        labels: what its labels are called in the whole, where that is not what `labels.SYNONYMS` says; an empty name
            leaves them out.
        only: a JSON Lines file as EmoBox publishes its balanced test sets, whose clips are taken and no others.
    """

    name: str
    corpus: Corpus
    language: str | None = None
    split: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    only: Path | None = None


def join_corpora(parts: Sequence[Part], title: str, classes: Sequence[str] = ()) -> Corpus:
    """Join corpora under classes that all of them have.

    Speakers, sessions, numbers of sentences and files get their corpus's name in front, so that no two corpora share
    them by accident. What every label became is in `mapping`, and each label that was left out is a warning with the
    number of its clips.

    Args:
        parts: at least two.
        title: name of the whole.
        classes: to keep; by default those that every part has. Parts may lack classes that are named here.

    Raises:
        ConfigError: fewer than two parts, parts of one name, `labels` for labels that a part does not have, classes
            that no part has, or fewer than two classes; all at once.
        ManifestError: a list of `only` cannot be read or names none of its corpus's clips.
    """
    names = [part.name for part in parts]
    faults = [f"{len(parts)} corpora, expected at least 2 to join"] if len(parts) < 2 else []
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        faults.append(f"{examples(twice)} is the name of several corpora, expected another for each")
    for part in parts:
        if unknown := sorted(set(part.labels) - set(part.corpus.classes)):  # of the whole corpus, before `only`
            have = ", ".join(part.corpus.classes)
            faults.append(f"labels of {part.name} maps {examples(unknown)}, which it does not have; it has {have}")
    parts = [part if part.only is None else replace(part, corpus=_only(part, part.only)) for part in parts]
    mapped = {part.name: {label: _class_of(part, label) for label in part.corpus.classes} for part in parts}
    found = [set(labels.values()) - {""} for labels in mapped.values()]
    kept = set(classes) or set.intersection(*found) if found else set()
    if absent := sorted(kept - set.union(set(), *found)):
        faults.append(f"classes names {examples(absent)}, which no corpus has")
    if len(kept) < 2:
        have = "; ".join(f"{name}: {', '.join(sorted(set(labels.values())))}" for name, labels in mapped.items())
        faults.append(f"the corpora share {len(kept)} classes, expected at least 2; they have {have}")
    if faults:
        raise ConfigError(f"{title}: " + "; ".join(faults))
    mapping = {
        name: {label: to if to in kept else "" for label, to in labels.items()} for name, labels in mapped.items()
    }
    utterances = tuple(
        joined(part, clip, to)
        for part in parts
        for clip in part.corpus.utterances
        if (to := mapping[part.name].get(clip.label or ""))
    )
    return Corpus(
        name=title,
        root=parts[0].corpus.root,
        utterances=utterances,
        left_out={f"{part.name}/{file}": why for part in parts for file, why in part.corpus.left_out.items()},
        warnings=tuple(warning for part in parts for warning in _warnings(part, mapping[part.name])),
        changes=tuple(change for part in parts for change in part.corpus.changes),
        passed_over=sum((part.corpus.passed_over for part in parts), Counter()),
        mapping=mapping,
    )


def join_values(parts: Sequence[Part], title: str) -> Corpus:
    """Join corpora by what they have beside classes; labels are spelled alike and may be absent.

    Speakers, sessions, numbers of sentences and files get their corpus's name in front.
    """
    utterances = [
        joined(part, clip, None if clip.label is None else _class_of(part, clip.label))
        for part in parts
        for clip in part.corpus.utterances
    ]
    return Corpus(
        name=title,
        root=parts[0].corpus.root,
        utterances=tuple(utterances),
        left_out={f"{part.name}/{file}": why for part in parts for file, why in part.corpus.left_out.items()},
        warnings=tuple(f"{part.name}: {warning}" for part in parts for warning in part.corpus.warnings),
        changes=tuple(change for part in parts for change in part.corpus.changes),
        passed_over=sum((part.corpus.passed_over for part in parts), Counter()),
    )


def _class_of(part: Part, label: str) -> str:
    return part.labels[label] if label in part.labels else SYNONYMS.get(simple(label), label.lower())


def joined(part: Part, clip: Utterance, label: str | None) -> Utterance:
    """A clip as part of a whole, under the class that its label became; None where it has none."""
    return replace(
        clip,
        id=f"{part.name}/{clip.id}",
        file=f"{part.name}/{clip.file}",
        label=label,
        speaker=None if clip.speaker is None else f"{part.name}:{clip.speaker}",
        session=None if clip.session is None else f"{part.name}:{clip.session}",
        sentence=None if clip.sentence is None else f"{part.name}:{clip.sentence}",
        corpus=part.name,
        language=part.language or clip.language,
        split=part.split or clip.split,
        fold=None if part.split else clip.fold,
    )


def _warnings(part: Part, mapping: Mapping[str, str]) -> list[str]:
    """The part's own warnings, and what joining left out of it."""
    found = [f"{part.name}: {warning}" for warning in part.corpus.warnings]
    taken = {label: to for label, to in mapping.items() if to and label not in part.labels and simple(label) != to}
    if merged := sorted(label for label, to in taken.items() if simple(label) in DOUBTFUL):
        each = ", ".join(f"{label} as {taken[label]}" for label in merged)
        found.append(f"{part.name}: labels are taken for others of nearly the same meaning: {each}")
    counts = Counter(clip.label for clip in part.corpus.utterances if clip.label and not mapping[clip.label])
    if counts:
        each = ", ".join(f"{label} {count}" for label, count in sorted(counts.items()))
        count = counted(counts.total(), "clip is", "clips are")
        found.append(f"{part.name}: {count} left out, of classes that are not shared: {each}")
    return found


def _only(part: Part, path: Path) -> Corpus:
    """The part's clips that a list names by `wav_filename`, the longest end of whose path counts.

    A stem alone counts where only one clip of the corpus has it, those included that the corpus had to leave out, and
    the list does not name that one by a longer end. What was left out is reported only where the list names it.
    """
    wanted = _listed_names(path)
    left_out = part.corpus.left_out
    by_end: dict[str, list[str]] = {}
    for file in dict.fromkeys([*(clip.file for clip in part.corpus.utterances), *left_out]):
        for end in _ends(file):
            by_end.setdefault(end, []).append(file)
    named: set[str] = set()
    absent: dict[str, str] = {}
    for file in sorted(wanted, key=lambda file: (_ends(file)[0] not in by_end, file)):  # longer ends before stems
        ends = _ends(file)
        places = by_end.get(ends[0], [])
        if not places and named.isdisjoint(same_stem := by_end.get(ends[-1], [])):
            places = same_stem
        if len(places) == 1:
            named.add(places[0])
        else:
            absent[file] = f"{path.name} names it, and {counted(len(places), 'clip')} of {part.name} are called so"
    lost = {file: why for file, why in left_out.items() if file in named}
    chosen = [clip.file in named for clip in part.corpus.utterances]
    if not any(chosen):
        raise ManifestError(
            f"{path}: none of its {len(wanted)} clips is in {part.name}, such as {examples(absent or lost)}"
        )
    return replace(part.corpus, left_out=lost).keep(chosen, absent)


def _listed_names(path: Path) -> set[str]:
    """What a list names; all lines that name nothing are told at once."""

    def parse(_: int, line: str) -> str:
        name = json_object(line).get("wav_filename")
        if not isinstance(name, str):
            raise ValueError(f"wav_filename is {name!r}, expected a path")
        return name

    lines, unreadable = read_lines(path)
    names, faults = collect(path, lines, parse)
    if unreadable or faults:
        told = examples(fault.in_list for fault in [*unreadable, *faults])
        raise ManifestError(f"{path}: expected JSON Lines with wav_filename: {told}")
    return set(names)


def _ends(file: str) -> tuple[str, ...]:
    """A file's stem with its folder and without, the longer end first; once where it has no folder."""
    parts = normal(without_suffix(file)).split("/")
    return tuple(dict.fromkeys(["/".join(parts[-2:]), parts[-1]]))
