"""Settings of iterations and their human-labelled clips, in their folder: of a later command they must be the same.

Settings may differ where what is done does not depend on them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from emotion2vec.corpora.faults import examples
from emotion2vec.errors import ConfigError
from emotion2vec.files import write_json, write_text
from emotion2vec.iterate.config import IteratePlan
from emotion2vec.iterate.people import People
from emotion2vec.settings import build, dotted, read_yaml, to_yaml

SETTINGS, PEOPLE = "iterate.yaml", "people.json"
"""In the folder of all rounds: the settings; and who trains, chooses and is held out, ids with labels."""

FREE_SECTIONS = ("log", "checkpoint", "guard", "probe")
FREE = (
    "run.dir",
    "run.devices",
    "run.nodes",
    "run.strategy",
    "run.compile",
    "run.checkpoint_activations",
    "data.workers",
    "data.cache",
    "data.patience",
    "data.licence",
    "data.max_bad_share",
    "rounds.count",
    "filters.quantile",
    "filters.agreeing",
    "filters.cap",
    "filters.balance",
    "filters.lacking",
    *(f"pool.{name}" for name in ("sources", "root", "columns", "max_bad_share", "shard", "engine", "ray_address")),
    *(f"pool.{name}" for name in ("actors", "batch_seconds", "workers", "compare")),
)
"""What may change between commands: where and how fast, how long, and what later rounds choose and choose among."""


def keep_settings(plan: IteratePlan, people: People) -> None:
    """Write the settings of iterations that can begin, and their human-labelled clips.

    Raises:
        OSError: the disk does not take them.
    """
    write_json(Path(plan.run.dir) / PEOPLE, _parts(people))
    write_text(Path(plan.run.dir) / SETTINGS, to_yaml(plan))


def same_iterations(plan: IteratePlan) -> None:
    """Check that settings are those of the folder, where some are there.

    Raises:
        ConfigError: others are there, or cannot be read.
    """
    path = Path(plan.run.dir) / SETTINGS
    if path.is_file():
        faults: list[str] = []
        before = dotted(build(IteratePlan, read_yaml(path), faults))
        now = dotted(plan)
        changed = [
            f"{key} was {before[key]!r}, now {value!r}"
            for key, value in now.items()
            if before[key] != value and key not in FREE and key.partition(".")[0] not in FREE_SECTIONS
        ]
        if changed or faults:
            raise ConfigError(
                f"run.dir {plan.run.dir} has iterations with other settings: {'; '.join([*faults, *changed])}; "
                "expected the same, or another run.dir"
            )


def same_people(plan: IteratePlan, people: People) -> None:
    """Check that human-labelled clips are divided as in the folder, where iterations are there.

    Raises:
        ConfigError: they are not, or what is there cannot be read.
    """
    path = Path(plan.run.dir) / PEOPLE
    if not path.is_file():
        return
    now = _parts(people)
    try:
        document = json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
        before: dict[str, dict[str, str]] = {part: dict(document[part]) for part in now}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: cannot be read as who is held out: {error}; expected a document of ours") from error
    if changed := [text for part in now for text in _changes(part, before[part], now[part])]:
        raise ConfigError(
            f"run.dir {plan.run.dir} has iterations with other human-labelled clips: {'; '.join(changed)}; expected "
            "the same clips and labels, or another run.dir"
        )


def _parts(people: People) -> dict[str, dict[str, str]]:
    """Labels of the clips of each part, by their ids."""
    clips, split = people.corpus.utterances, people.split
    places = {"train": split.train, "choose": split.valid, "held out": np.concatenate(list(people.held.values()))}
    return {part: {clips[i].id: clips[i].label or "" for i in rows.tolist()} for part, rows in places.items()}


def _changes(part: str, before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What is said of a part that was another."""
    found = {
        f"are now in {part}": [name for name in now if name not in before],
        f"are no longer in {part}": [name for name in before if name not in now],
        f"have another label in {part}": [name for name in now if before.get(name, now[name]) != now[name]],
    }
    return [f"{len(names)} {what}: {examples(names)}" for what, names in found.items() if names]
