"""Labelled speech under the labels of a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from emotion2vec.corpora.faults import examples
from emotion2vec.corpora.joining import Part, join_corpora
from emotion2vec.corpora.labels import class_name
from emotion2vec.corpora.utterance import Corpus
from emotion2vec.errors import ConfigError
from emotion2vec.finetune.config import LabelledData
from emotion2vec.finetune.joint import JointSettings
from emotion2vec.finetune.labelled import SHARED, read_corpora, read_speech, renamed
from emotion2vec.finetune.scales import on_one_scale
from emotion2vec.finetune.unlabelled import with_unlabelled
from emotion2vec.model.heads import Head
from emotion2vec.units import counted


def joint_of(heads: Mapping[str, Head]) -> JointSettings:
    """The targets that a model's heads tell beside its main one."""
    kinds: dict[str, list[str]] = {"classes": [], "values": []}
    for target, head in heads.items():
        kinds[head.config.task] += [f"{target}=1"] if target else []
    return JointSettings(classes=kinds["classes"], values=kinds["values"])


def known_label(label: str, labels: Sequence[str]) -> str:
    """The label among a head's that is spelled so, or else the only one that means the same; empty for none."""
    alike = [one for one in labels if class_name(one) == class_name(label)]
    return label if label in labels else alike[0] if len(alike) == 1 else ""


def read_tested(data: LabelledData, labels: Sequence[str], joint: JointSettings) -> tuple[Corpus, tuple[str, ...]]:
    """Read labelled speech whose labels a model knows; what it became of each label is in `mapping`.

    A label is that of the model which is spelled so, or, where there is none, the one that means the same;
    `data.labels` has the last word. Clips of other labels are left out, and counted in `warnings`.

    Args:
        data: which speech; `classes` are those of the model's labels that are to be told apart, `shared` those that
            the speech has.
        labels: of the model.
        joint: targets of its further heads; clips that have one of them and no label stand behind the others.

    Returns:
        The speech, and the labels to tell apart, in the model's order.

    Raises:
        ConfigError: names that are not there, or no clip has a label that the model knows.
        ManifestError: a corpus or table cannot be read.
    """
    found, notes = on_one_scale(read_corpora(data, joint), joint.columns[1], data.ranges)
    rules = renamed(data.labels, found)
    mapping = {name: _mapped(corpus, rules[name], labels) for name, corpus in found.items()}
    chosen = _chosen(data.classes, mapping, labels)
    mapping = {name: {label: to * (to in chosen) for label, to in own.items()} for name, own in mapping.items()}
    there = [label for label in chosen if any(label in own.values() for own in mapping.values())]
    if not there:
        have = "; ".join(f"{name}: {', '.join(corpus.classes) or 'none'}" for name, corpus in found.items())
        raise ConfigError(f"no label is one of the model's ({', '.join(chosen)}); there are {have}: see data.labels")
    if len(found) == 1:
        ((name, corpus),) = found.items()
        whole = _under(corpus, mapping[name], name)
    else:
        parts = [Part(name=name, corpus=corpus, labels=mapping[name]) for name, corpus in found.items()]
        whole = join_corpora(parts, " + ".join(found), there)
    whole = with_unlabelled(whole, found, (), joint)
    return replace(whole, warnings=(*whole.warnings, *notes)), chosen


def read_valued(data: LabelledData, names: Sequence[str], joint: JointSettings) -> Corpus:
    """Read speech with the values that a model gives, in columns of their names; raises as `read_labelled`."""
    return read_speech(replace(data, targets=list(names)), joint)


def _mapped(corpus: Corpus, rules: Mapping[str, str], labels: Sequence[str]) -> dict[str, str]:
    """What each label of a corpus is among a model's labels; empty where it is none.

    Raises:
        ConfigError: a rule leads to what is no label of the model.
    """
    if wrong := [f"{label}={to}" for label, to in rules.items() if to and not known_label(to, labels)]:
        raise ConfigError(
            f"data.labels has {examples(wrong)}, which the model does not know; it has {', '.join(labels)}"
        )
    return {label: known_label(rules.get(label, label), labels) for label in corpus.classes}


def _chosen(classes: Sequence[str], mapping: Mapping[str, Mapping[str, str]], labels: Sequence[str]) -> tuple[str, ...]:
    """The labels to tell apart.

    Raises:
        ConfigError: the model has not all that are asked for, or they are fewer than two.
    """
    wanted = set(classes)
    if list(classes) == [SHARED]:
        wanted = set.intersection(*(set(own.values()) - {""} for own in mapping.values()))
    if unknown := [label for label in classes if label not in labels and label != SHARED]:
        raise ConfigError(f"data.classes has {examples(unknown)}, which the model lacks; it has {', '.join(labels)}")
    chosen = tuple(label for label in labels if not classes or label in wanted)
    if len(chosen) < 2:
        raise ConfigError(
            f"data.classes leaves {', '.join(chosen) or 'none'} of the model's labels, expected at least 2"
        )
    return chosen


def _under(corpus: Corpus, mapping: Mapping[str, str], name: str) -> Corpus:
    """A corpus with the labels that a mapping gives; clips of others are left out and counted."""
    counts = Counter(clip.label for clip in corpus.utterances if clip.label and not mapping[clip.label])
    left = corpus.keep(
        [bool(clip.label and mapping[clip.label]) for clip in corpus.utterances],
        {clip.stretch: "no label" for clip in corpus.utterances if not clip.label},
    )
    warnings = [
        f"{name}: of {label}, which is not told apart, {counted(count, 'clip is', 'clips are')} left out"
        for label, count in sorted(counts.items())
    ]
    return replace(
        left,
        utterances=tuple(replace(clip, label=mapping[clip.label or ""]) for clip in left.utterances),
        warnings=(*left.warnings, *warnings),
        mapping={name: mapping},
    )
