"""`inputs.jsonl`: of every output that was written, what it was made from; what `--resume` compares."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from emotion2vec.corpora.contents import content_key
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.errors import ConfigError
from emotion2vec.lines import Lines


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What the features of one id were made from.

    Attributes:
        file: path of the audio, or its URL.
        size: its bytes; None for URLs, which are known by their names alone.
        modified: times of its last change and of the last change of its entry, in ns.
        content: hash of its bytes; None where it was not needed or could not be taken.
        start, duration: the stretch, in s.
        channel: the channel that was taken.
        accept_damaged: what there was of a damaged file may have been taken.
        label, speaker: what some formats store beside features.
    """

    file: str
    size: int | None = None
    modified: tuple[int, int] | None = None
    content: str | None = None
    start: float | None = None
    duration: float | None = None
    channel: int | None = None
    accept_damaged: bool = False
    label: str | None = None
    speaker: str | None = None


class Ledger:
    """Reads and writes the origins of an output.

    Args:
        folder: of the output.
        name: of the file that is written.
        pattern: of all such files of the output, those of other shards too; what was written last counts.
        resume: keep what is there; otherwise the file is begun anew.
        at_once: write every line at once; otherwise when `commit` is called, as for formats that are complete only at
            their end.
        stores_facts: label and speaker are part of what is written, so that features with others are stale.
    """

    def __init__(self, folder: Path, name: str, pattern: str, *, resume: bool, at_once: bool, stores_facts: bool):
        self._path = folder / name
        self._known = read_origins(folder.glob(pattern)) if resume else {}
        self._at_once, self._stores_facts = at_once, stores_facts
        self._pending: list[str] = []
        self._hashes: dict[tuple[str, int | None, tuple[int, int] | None], str | None] = {}
        self._before: dict[str, Origin] = {}
        try:
            self._lines = Lines(self._path, anew=not resume)
        except OSError as error:
            raise ConfigError(f"{self._path}: cannot be written: {error.strerror}") from error

    def begin(self, item: Utterance) -> None:
        """Note what the audio of an item is before it is decoded."""
        self._before[item.id] = self._origin(item)

    def matches(self, item: Utterance) -> bool:
        """Whether the features that are there are what the item would give now.

        What was made of a whole file is the same where damaged ones are taken too; otherwise it may be a part of one.
        """
        there = self._known.get(item.id)
        if there is None:
            return False
        now = self._origin(item)
        spans = [(origin.start, origin.duration, origin.channel) for origin in (there, now)]
        facts = [(origin.label, origin.speaker) for origin in (there, now)]
        if there.accept_damaged and not now.accept_damaged:
            return False
        if spans[0] != spans[1] or (self._stores_facts and facts[0] != facts[1]) or there.size != now.size:
            return False
        if (there.file, there.modified) == (now.file, now.modified):
            return True
        return there.content is not None and there.content == self._hash(now)

    def add(self, item: Utterance) -> None:
        """Note that an item's features were written, once; audio that changed meanwhile has no origin."""
        before = self._before.pop(item.id, None)
        if before is None or self._origin(item) != before:
            return
        facts = {**asdict(before), "content": self._hash(before)}
        line = json.dumps({"id": item.id, **facts, "time": time.time()}) + "\n"
        if self._at_once:
            self._write([line])
        else:
            self._pending.append(line)

    def take_over(self, paths: Iterable[Path]) -> None:
        """Take in what other processes of the job noted, in files of their own, which go."""
        for path in paths:
            self._write(path.read_text(encoding="ascii").splitlines(keepends=True))
            path.unlink()

    def commit(self) -> None:
        """Write what waits for the end of the output."""
        self._write(self._pending)
        self._pending = []

    def discard(self) -> None:
        """Forget what waits: the output could not be completed."""
        self._pending = []

    def close(self) -> None:
        """Have the file on disk, and close it.

        Raises:
            ConfigError: the disk does not take it.
        """
        try:
            self._lines.close()
        except OSError as error:
            raise ConfigError(f"{self._path}: cannot be written: {error.strerror}") from error

    def _write(self, lines: Iterable[str]) -> None:
        try:
            self._lines.add("".join(lines))
        except OSError as error:
            raise ConfigError(f"{self._path}: cannot be written: {error.strerror}") from error

    def _origin(self, item: Utterance) -> Origin:
        known = {
            name: getattr(item, name) for name in ("start", "duration", "channel", "accept_damaged", "label", "speaker")
        }
        try:
            facts = os.stat(item.audio)
        except (OSError, ValueError):  # a URL, or gone
            return Origin(file=str(item.audio), **known)
        file = os.path.abspath(item.audio)
        return Origin(file=file, size=facts.st_size, modified=(facts.st_mtime_ns, facts.st_ctime_ns), **known)

    def _hash(self, origin: Origin) -> str | None:
        if origin.size is None:
            return None
        key = origin.file, origin.size, origin.modified
        if key not in self._hashes:
            self._hashes[key] = content_key(Path(origin.file))
        return self._hashes[key]


def read_origins(paths: Iterable[Path]) -> dict[str, Origin]:
    """The last origin of each id; a line that was cut off is none."""
    found: dict[str, tuple[float, Origin]] = {}
    for path in paths:
        try:
            lines = path.read_bytes().split(b"\n")
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read, so nothing can be resumed: {error.strerror}") from error
        for line in lines:
            try:
                facts = json.loads(line)
                name, when = str(facts.pop("id")), float(facts.pop("time"))
                modified = facts.pop("modified")
                origin = Origin(modified=None if modified is None else tuple(modified), **facts)
            except Exception:  # whatever a line holds, it is no origin
                continue
            if name not in found or when >= found[name][0]:
                found[name] = when, origin
    return {name: origin for name, (_, origin) in found.items()}
