"""The labelled speech of a run: corpora and tables read, joined under one set of classes, and shown."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from emotion2vec.corpora.faults import examples
from emotion2vec.corpora.joining import Part, join_corpora, join_values
from emotion2vec.corpora.labels import SYNONYMS, simple
from emotion2vec.corpora.lists.columns import Names
from emotion2vec.corpora.lists.folders import read_class_folders
from emotion2vec.corpora.lists.tables import Extra, read_table
from emotion2vec.corpora.named.registry import NAMED, dataset_names, read_named
from emotion2vec.corpora.prescribed import parts_of, with_splits
from emotion2vec.corpora.utterance import Corpus, Utterance
from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.finetune.aims import check_known
from emotion2vec.finetune.config import LabelledData
from emotion2vec.finetune.entries import pair
from emotion2vec.finetune.joint import JointSettings
from emotion2vec.finetune.scales import on_one_scale
from emotion2vec.finetune.unlabelled import with_unlabelled
from emotion2vec.tasks.targets import with_values
from emotion2vec.units import counted

SHARED = "shared"
"""In place of classes: those that every corpus has."""

TABLES = ("metadata.tsv", "metadata.csv", "metadata.xlsx")
"""Tables that a folder of a corpus is looked for."""

ROUNDED = 0.02
"""How far probabilities may be from adding up to 1, as tables round them."""

ROWS = "rows"
"""In place of raters' columns: each has rows of his own."""


def read_labelled(data: LabelledData, joint: JointSettings | None = None) -> Corpus:
    """Read the speech that a run learns from.

    Several corpora are joined; labels that mean the same become one class, and `data.labels` has the last word. One
    corpus keeps its labels as they are spelled.

    Args:
        data: which speech.
        joint: targets beside the main goal, which clips may lack.

    Raises:
        ConfigError: a target that no clip has; names, labels or classes that are not there, or fewer than two classes;
            labels that differ by case; scales of values that are not stated, see `on_one_scale`.
        ManifestError: a corpus, table or split cannot be read, or the split does not fit, see `with_splits`.
    """
    joint = joint or JointSettings()
    corpus = read_speech(data, joint)
    check_known(joint, corpus.utterances)
    return corpus


def read_speech(data: LabelledData, joint: JointSettings) -> Corpus:
    """The same, of which no clip needs to have a further target; errors as for `read_labelled`."""
    found, notes = on_one_scale(read_corpora(data, joint), [*data.targets, *joint.columns[1]], data.ranges)
    corpus = with_unlabelled(_whole(found, data), found, data.targets, joint)
    return replace(corpus, warnings=(*corpus.warnings, *notes))


def _whole(found: Mapping[str, Corpus], data: LabelledData) -> Corpus:
    """The clips that have what the main goal learns, joined under the wanted classes or with the wanted values."""
    if data.targets:
        valued = {name: with_values(corpus, data.targets) for name, corpus in found.items()}
        parts = [Part(name=name, corpus=corpus) for name, corpus in valued.items()]
        return join_values(parts, " + ".join(valued)) if len(parts) > 1 else parts[0].corpus
    named = renamed(data.labels, found)
    if len(found) == 1:
        ((name, corpus),) = found.items()
        return _one(corpus, named[name], data.classes)
    parts = [Part(name=name, corpus=corpus, labels=named[name]) for name, corpus in found.items()]
    return join_corpora(parts, " + ".join(found), _wanted(parts, data.classes))


def read_corpora(data: LabelledData, joint: JointSettings | None = None) -> dict[str, Corpus]:
    """Read each corpus, and the table, with the labels that they have; by name.

    Raises:
        ConfigError: a name or a place that is there twice.
        ManifestError: one cannot be read, or the split does not fit, see `with_splits`.
    """
    joint = joint or JointSettings()
    found = {name: _read(name, place, data, joint) for name, place in map(pair, data.corpora)}
    if len(found) < len(data.corpora):
        raise ConfigError(f"data.corpora has {', '.join(data.corpora)}, expected each name once")
    places = [Path(place).resolve() for _, place in map(pair, data.corpora)]
    if twice := sorted({str(place) for place in places if places.count(place) > 1}):
        raise ConfigError(f"data.corpora has {examples(twice)} under several names, expected each corpus once")
    if data.table:
        corpus = _read_table(Path(data.table), Path(data.root) if data.root else None, data, joint)
        if corpus.name in found:
            raise ConfigError(f"data.table {data.table} is called as one of data.corpora, expected another file name")
        found[corpus.name] = corpus
    return with_splits(found, data.split) if data.split else found


def _read_table(path: Path, root: Path | None, data: LabelledData, joint: JointSettings) -> Corpus:
    """A table with what is asked for beside its labels; of a class each clip has the most probable one.

    Raises:
        ManifestError: it cannot be read, a weight is not above 0, or as for `_by_shares`.
    """
    several = data.raters == [ROWS]
    classes, values = joint.columns
    extra = Extra(
        numbers=[data.weight] if data.weight else [],
        raters=[] if several else data.raters,
        several=several,
        labels=classes,
        values=values,
        unlabelled=bool(joint.targets),
    )
    names = Names.of(data.columns)
    corpus = read_table(path, root, targets=data.targets or data.soft, extra=extra, names=names)
    corpus = replace(corpus, warnings=(*corpus.warnings, *names.unused()))
    light = [clip.stretch for clip in corpus.utterances if clip.values.get(data.weight, 1.0) <= 0]
    if light:
        raise ManifestError(
            f"table {path}: {data.weight} is not above 0 of {examples(light)}, expected what clips count"
        )
    return _by_shares(corpus, path, data.soft) if data.soft else corpus


def _by_shares(corpus: Corpus, path: Path, columns: Sequence[str]) -> Corpus:
    """Clips under the most probable one of the classes that columns name, with what is odd of their probabilities.

    Raises:
        ManifestError: a probability is negative, or all of a clip are 0.
    """
    wrong, uneven, named = [], [], []
    for clip in corpus.utterances:
        shares = {name: clip.values.get(name, 0.0) for name in columns}
        total = sum(shares.values())
        if min(shares.values()) < 0 or not total:
            wrong.append(clip.stretch)
        elif abs(total - 1) > ROUNDED:
            uneven.append(f"{clip.stretch} ({total:g})")
        named.append(replace(clip, label=max(shares, key=shares.__getitem__)))
    if wrong:
        names = ", ".join(columns)
        raise ManifestError(f"table {path}: {names} are no probabilities of {examples(wrong)}: one below 0, or all 0")
    told = replace(corpus, utterances=tuple(named))
    warnings = [f"{', '.join(columns)} do not add up to 1, and are divided by their sum: {examples(uneven)}"] * bool(
        uneven
    )
    if never := [name for name in columns if name not in told.classes]:
        warnings.append(f"{examples(never)} is the most probable of no clip, and is not learnt")
    return replace(told, warnings=(*told.warnings, *warnings))


def _read(name: str, place: str, data: LabelledData, joint: JointSettings) -> Corpus:
    """A corpus by its name and folder, or by its table."""
    path = Path(place)
    table = path if path.is_file() else next((path / file for file in TABLES if (path / file).is_file()), None)
    if name in dataset_names() and not path.is_file():
        known = [value for value in joint.columns[1] if value in NAMED[name].values]
        return read_named(name, path, targets=[*data.targets, *known])
    if table is not None:
        return replace(_read_table(table, table.parent, data, joint), name=name)
    if not path.is_dir():
        raise ManifestError(f"data.corpora: {name}={place}: no such file or folder, expected a corpus or a table")
    return replace(read_class_folders(path), name=name)


def renamed(rules: Sequence[str], found: Mapping[str, Corpus]) -> dict[str, dict[str, str]]:
    """For every corpus, what its labels are called where `data.labels` says so.

    Raises:
        ConfigError: a rule for a label that no corpus has.
    """
    named: dict[str, dict[str, str]] = {name: {} for name in found}
    unknown = []
    for label, new in map(pair, rules):
        name, dot, own = label.partition(".")
        hits = [(name, own)] if dot and name in found else [(other, label) for other in found]
        hits = [(corpus, spelled) for corpus, wanted in hits for spelled in _spelled(found[corpus], wanted, len(found))]
        for corpus, spelled in hits:
            named[corpus][spelled] = new
        unknown += [] if hits else [label]
    if unknown:
        have = "; ".join(f"{name}: {', '.join(corpus.classes)}" for name, corpus in found.items())
        raise ConfigError(f"data.labels names {examples(unknown)}, which no corpus has; they have {have}")
    return named


def _spelled(corpus: Corpus, wanted: str, corpora: int) -> list[str]:
    """Labels of a corpus that a rule means: spelled so, or, of several corpora, those that become this class."""
    if wanted in corpus.classes:
        return [wanted]
    return [label for label in corpus.classes if corpora > 1 and SYNONYMS.get(simple(label), label.lower()) == wanted]


def _wanted(parts: Sequence[Part], classes: Sequence[str]) -> tuple[str, ...]:
    """The classes of joined corpora: all, those named, or those that all share that have any."""
    of_parts = [
        {part.labels.get(label, SYNONYMS.get(simple(label), label.lower())) for label in part.corpus.classes}
        for part in parts
    ]
    if list(classes) == [SHARED]:
        return tuple(sorted(set.intersection(*filter(None, of_parts)) - {""})) if any(of_parts) else ()
    return tuple(classes) or tuple(sorted(set().union(*of_parts) - {""}))


def _one(corpus: Corpus, renamed: Mapping[str, str], classes: Sequence[str]) -> Corpus:
    """A single corpus under the wanted classes.

    Raises:
        ConfigError: labels that differ by case, a class that is not there, or fewer than two.
    """
    mapping = {label: renamed.get(label, label) for label in corpus.classes}
    alike: dict[str, set[str]] = defaultdict(set)
    for label in set(mapping.values()) - {""}:
        alike[simple(label)].add(label)
    faults = [
        f"{' and '.join(map(repr, sorted(names)))} differ only in case or spaces, expected one of them, such as "
        f"data.labels=[{sorted(names)[0]}={sorted(names)[-1]}]"
        for names in alike.values()
        if len(names) > 1
    ]
    kept = set(mapping.values()) - {""} if not classes or list(classes) == [SHARED] else set(classes)
    if absent := sorted(kept - set(mapping.values())):
        faults.append(
            f"data.classes names {examples(absent)}, which {corpus.name} has not; it has "
            f"{', '.join(sorted(set(mapping.values()) - {''}))}"
        )
    if len(kept) < 2:
        faults.append(f"{len(kept)} class ({', '.join(kept) or 'none'}), expected at least 2")
    if faults:
        raise ConfigError(f"{corpus.name}: {'; '.join(faults)}")
    mapping = {label: to if to in kept else "" for label, to in mapping.items()}
    counts = Counter(clip.label for clip in corpus.utterances if clip.label and not mapping[clip.label])
    left = corpus.keep(
        [bool(clip.label and mapping[clip.label]) for clip in corpus.utterances],
        {clip.stretch: "no label" for clip in corpus.utterances if not clip.label},
    )
    warnings = [
        f"{corpus.name}: {counted(count, 'clip')} of {label} {'is' if count == 1 else 'are'} left out"
        for label, count in sorted(counts.items())
    ]
    named = tuple(replace(clip, label=mapping[clip.label or ""]) for clip in left.utterances)
    return replace(left, utterances=named, warnings=(*left.warnings, *warnings), mapping={corpus.name: mapping})


def shares_of(corpus: Corpus, clip: Utterance, soft: Sequence[str]) -> tuple[float, ...] | None:
    """The distribution over a corpus's classes that raters or columns give a clip; None where they give none.

    Votes for what is no class are not counted.
    """
    counts: Counter[str] = Counter()
    mapping = corpus.mapping.get(clip.corpus or corpus.name, {})
    for vote in clip.votes:
        counts[mapping.get(vote, SYNONYMS.get(simple(vote), vote))] += 1
    for name in soft:
        counts[mapping.get(name, name)] += clip.values.get(name, 0.0)  # type: ignore[assignment]
    kept = [float(counts[name]) for name in corpus.classes]
    return tuple(value / sum(kept) for value in kept) if sum(kept) else None


def show_labels(corpus: Corpus, say: Callable[[str], None]) -> None:
    """Say what every label became, how many clips and speakers each class has, and how a list splits them."""
    show_classes(corpus, say)
    if parts := parts_of(corpus.utterances):
        train, valid, test = (len(rows) for rows in parts.values())
        say(
            f"split of the list: {train} clips train, {valid} choose, {test} are of the test, which nothing learns from"
        )


def show_classes(corpus: Corpus, say: Callable[[str], None]) -> None:
    """The same, for speech that nothing learns from."""
    for name, mapping in corpus.mapping.items():
        if not mapping:
            continue
        sorts = [label if label == to else f"{label} -> {to or 'left out'}" for label, to in mapping.items()]
        say(f"labels of {name}: {', '.join(sorts)}")
    counts = ", ".join(f"{label} {count}" for label, count in corpus.label_counts.items())
    speakers = len({clip.speaker for clip in corpus.utterances} - {None})
    clips, people = counted(len(corpus.utterances), "labelled clip"), counted(speakers, "speaker")
    say(f"{clips} of {people}" + f": {counts}" * bool(counts))
    for warning in corpus.warnings:
        say(f"warning: {warning}")
