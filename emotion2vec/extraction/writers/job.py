"""What a job leaves beside its features: `job.json`, which says what made them, and `failed.jsonl`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from emotion2vec.corpora.faults import Fault
from emotion2vec.documents import read_json
from emotion2vec.errors import ConfigError
from emotion2vec.files import write_text
from emotion2vec.lines import Lines
from emotion2vec.locks import LOCK, only_writer

FORMAT_VERSION = 1

SUMMARY = "summary"
"""Where the counts of inputs stand, which do not decide whether features can be kept."""


class JobRecord:
    """`job.json` of an output: the model and the options that its features depend on, and the counts of its inputs.

    Args:
        path: of the file.
        facts: what features depend on.
        tag: of the shard that the job does, empty for all; shards of one output have counts of their own.
    """

    def __init__(self, path: Path, facts: Mapping[str, Any], tag: str = ""):
        self.path = path
        self._tag = tag.removeprefix("-")
        # Through JSON and back, so that what is compared looks like what was read.
        self._facts: dict[str, Any] = json.loads(json.dumps({"format_version": FORMAT_VERSION, **facts}))

    def check(self) -> bool:
        """Whether there are features of the same model and options, which can be kept; False when nothing is known.

        Raises:
            ConfigError: they come from others; every difference is named.
        """
        if not self.path.exists():
            return False
        try:
            found = read_json(self.path)
            assert isinstance(found, dict)
        except (OSError, ValueError, AssertionError) as error:
            raise ConfigError(f"{self.path}: cannot be read, so nothing can be resumed: {error}") from error
        found.pop(SUMMARY, None)
        names = sorted({*found, *self._facts})
        differences = [
            f"{name} was {found.get(name)!r}, now {self._facts.get(name)!r}"
            for name in names
            if found.get(name) != self._facts.get(name)
        ]
        if differences:
            raise ConfigError(
                f"{self.path}: the features there were made otherwise, so they cannot be resumed: "
                f"{'; '.join(differences)}. Choose another output, or leave --resume away to replace them"
            )
        return True

    def write(self, counts: Mapping[str, Any] | None = None) -> None:
        """Write the file, all at once, with what became of the inputs when that is known.

        Raises:
            ConfigError: the disk does not take it; what was there stays.
        """
        # Shards of one output add to the same file.
        lock = self.path.with_name(f".{self.path.name}{LOCK}")
        with only_writer(lock, self.path, wait=True) if self._tag else nullcontext():
            self._write(counts)

    def _write(self, counts: Mapping[str, Any] | None) -> None:
        summary = self._other_shards() if self._tag else {}
        if counts is not None:
            summary = {**summary, self._tag: dict(counts)} if self._tag else dict(counts)
        facts = {**self._facts, SUMMARY: summary} if summary else self._facts
        try:
            write_text(self.path, json.dumps(facts, indent=2) + "\n")
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be written: {error.strerror}") from error

    def _other_shards(self) -> dict[str, Any]:
        """Counts of the inputs of other shards of the output."""
        try:
            there = read_json(self.path)[SUMMARY]
            return {shard: counts for shard, counts in there.items() if isinstance(counts, dict) and "-of-" in shard}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}


class FailureLog:
    """`failed.jsonl`: one line per input that could not be extracted, written as they fail; absent without any."""

    def __init__(self, path: Path):
        self.path = path
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be replaced: {error.strerror}") from error
        self._lines: Lines | None = None

    def add(self, fault: Fault) -> None:
        """Write one failure; names that are no Unicode are written with escapes."""
        line = json.dumps({"file": fault.where, "reason": fault.reason}) + "\n"  # ASCII, escapes for all else
        try:
            if self._lines is None:
                self._lines = Lines(self.path)
            self._lines.add(line)
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """Have the file on disk, and close it.

        Raises:
            ConfigError: the disk does not take it.
        """
        if self._lines is not None:
            try:
                self._lines.close()
            except OSError as error:
                raise ConfigError(f"{self.path}: cannot be written: {error.strerror}") from error
