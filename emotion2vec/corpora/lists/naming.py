"""Ids that lists do not give: every utterance gets its own, by what tells it from the others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from emotion2vec.corpora.faults import Fault
from emotion2vec.corpora.names import leaves_folder, split_suffix
from emotion2vec.corpora.utterance import Utterance


def unique_ids(named: Sequence[tuple[str, Utterance]], keyed: set[str]) -> tuple[list[Utterance], list[Fault]]:
    """Tell ids apart that the list does not give itself; an id that is still taken or unsafe is a fault.

    Args:
        named: where each entry stands, and the entry.
        keyed: places of those whose ids the list gives, which are not changed.
    """
    others = iter(tell_apart([utterance for where, utterance in named if where not in keyed]))
    first: dict[str, str] = {}
    utterances: list[Utterance] = []
    faults: list[Fault] = []
    for where, given in named:
        utterance = given if where in keyed else next(others)
        name = utterance.id
        if name in first:
            faults.append(Fault(where, f"the id {name!r} was given at {first[name]} already, expected unique ids"))
        elif leaves_folder(name):
            faults.append(Fault(where, f"the id {name!r} would leave its folder, expected no '..' and no leading '/'"))
        else:
            first[name] = where
            utterances.append(utterance)
    return utterances, faults


def tell_apart(entries: Sequence[Utterance]) -> list[Utterance]:
    """Give entries of one id different ones: by the suffixes of their files, then by speaker, channel, and number.

    Entries that are the same stretch of the same file by the same speaker keep one id.
    """
    found = list(entries)
    endings: list[Callable[[Utterance], str]] = [
        lambda entry: split_suffix(str(entry.audio))[1],
        lambda entry: f"_{entry.speaker}".replace("/", "_") if entry.speaker else "",
        lambda entry: f"_channel{entry.channel}" if entry.channel is not None else "",
    ]
    for ending in endings:
        groups: dict[str, set[str]] = defaultdict(set)
        for entry in found:
            groups[entry.id].add(ending(entry))
        found = [replace(entry, id=entry.id + ending(entry)) if len(groups[entry.id]) > 1 else entry for entry in found]
    return _numbered(found)


def _numbered(entries: Sequence[Utterance]) -> list[Utterance]:
    """Add `#2` and so on to ids that other entries have, or have after this."""
    taken = {entry.id for entry in entries}
    owners: dict[str, tuple[Any, ...]] = {}
    names: dict[tuple[Any, ...], str] = {}
    numbers: dict[str, int] = defaultdict(lambda: 2)
    found = []
    for entry in entries:
        what = entry.id, entry.audio, entry.start, entry.duration, entry.channel, entry.speaker
        name = names.get(what, entry.id)
        if owners.setdefault(name, what) != what:
            while (name := f"{entry.id}#{numbers[entry.id]}") in taken:
                numbers[entry.id] += 1
            taken.add(name)
            owners[name] = what
        names[what] = name
        found.append(entry if name == entry.id else replace(entry, id=name))
    return found
