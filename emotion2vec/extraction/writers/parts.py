"""Formats with many items in a file, written as a series of parts, so that a killed job loses one part at most."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from emotion2vec.corpora.utterance import Utterance
from emotion2vec.disk import naming
from emotion2vec.errors import ConfigError
from emotion2vec.extraction.encode.arrays import Arrays, Layout
from emotion2vec.extraction.writers.base import Output
from emotion2vec.files import tidy, unfinished

PART_BYTES = 256 * 1024 * 1024
"""A part is finished when it holds this much."""

PART_SECONDS = 300.0
"""A part is finished when it has been open for this long, in s."""


class Part(Protocol):
    """One file of a format that is being written.

    Attributes:
        suffix: ending of its name.
        companions: endings of files that lie beside it.
        nested: keys are paths, and arrays lie below them.
        stores_facts: labels and speakers are written too.
    """

    suffix: str
    companions: tuple[str, ...]
    nested: bool
    stores_facts: bool

    def __init__(self, partial: Path, layout: Layout, final: Path):
        """Begin a file at `partial`, which will be called `final` when it is finished."""

    @staticmethod
    def check(layout: Layout) -> None:
        """Raise ConfigError if the format cannot hold the layout, or needs a package that is not installed."""

    @staticmethod
    def key(item: Utterance) -> str:
        """The item's name in the file; ManifestError if it cannot have one."""

    @staticmethod
    def keys(path: Path, layout: Layout) -> set[str]:
        """Names of the items in a finished part; none if it is no whole part of this layout."""

    @staticmethod
    def drop(path: Path, keys: set[str], partial: Path) -> None:
        """Replace a finished part by one without some of its items, which is written to `partial` first."""

    def add(self, key: str, item: Utterance, arrays: Arrays) -> int:
        """Write one item; returns its size in bytes."""

    def finish(self) -> None:
        """Write what is left and close the file."""

    def publish(self) -> None:
        """Give the finished file its name, in place of what has it, and what lies beside it."""

    @staticmethod
    def settle(folder: Path, start: str) -> None:
        """End what a process that was killed had begun to publish, of files that are called so and numbered."""


class PartsWriter:
    """Writes `features-00000.<suffix>`, `features-00001.<suffix>`, ...; each gets its name when it is whole."""

    separate, at_once = False, True

    def __init__(self, output: Output, kind: type[Part]):
        kind.check(output.layout)
        self._output = output
        self._kind = kind
        try:
            kind.settle(output.folder, f"features{output.tag}-")
        except OSError as error:
            raise ConfigError(f"output {output.folder}: cannot be written: {error.strerror or error}") from error
        found = sorted(output.folder.glob(f"features{output.tag}-{5 * '[0-9]'}{kind.suffix}"))
        tidy(output.folder)
        self._parts = {path: kind.keys(path, output.layout) for path in found} if output.resume else {}
        self._present: set[str] = set().union(*self._parts.values())
        self.nested, self.stores_facts = kind.nested, kind.stores_facts
        self._stale = [] if output.resume else found
        self._number = len(found) if output.resume else 0
        self._part: Part | None = None
        self._partial = output.folder / "unused"
        self._final = output.folder / "unused"
        self._size, self._opened = 0, 0.0

    def targets(self, item: Utterance) -> list[str]:
        """The item's name in its part, or the names of its arrays there."""
        key = self._kind.key(item)
        return [f"{key}/{name}" for name in self._output.layout] if self.nested else [key]

    def has(self, item: Utterance) -> bool:
        """Whether a finished part has the item."""
        return self._kind.key(item) in self._present

    def remove(self, items: Sequence[Utterance]) -> None:
        """Write the parts that have the items anew without them; a part that is left empty is removed."""
        unwanted = {self._kind.key(item) for item in items}
        for path, keys in self._parts.items():
            if not keys & unwanted:
                continue
            partial = unfinished(path)
            try:
                with naming(path):
                    if keys <= unwanted:
                        remove_part(path, self._kind.companions)
                    else:
                        self._kind.drop(path, keys & unwanted, partial)
            except OSError as error:
                raise ConfigError(f"output {path}: cannot be replaced: {error.strerror or error}") from error
            finally:
                partial.unlink(missing_ok=True)
        self._present -= unwanted

    def write(self, item: Utterance, arrays: Arrays) -> None:
        """Add one item to the part that is open; finish the part when it is large or old enough."""
        try:
            with naming(self._final):
                part = self._part or self._begin()
                self._size += part.add(self._kind.key(item), item, arrays)
                if self._size >= PART_BYTES or time.monotonic() - self._opened > PART_SECONDS:
                    self._finish()
        except OSError as error:
            if error.errno is None:  # what this item holds, not what the disk takes
                raise
            self._drop()
            reason = f"{error.strerror}; the items of {self._final.name} are lost"
            raise ConfigError(f"output {self._output.folder}: nothing more can be written: {reason}") from error

    def close(self) -> None:
        """Finish the part that is open."""
        if self._part is not None:
            try:
                with naming(self._final):
                    self._finish()
            except OSError as error:
                raise ConfigError(f"output {self._final}: cannot be written: {error.strerror or error}") from error

    def _begin(self) -> Part:
        suffix = self._kind.suffix
        while (final := self._output.folder / f"features{self._output.tag}-{self._number:05d}{suffix}").exists():
            if final in self._stale:
                break
            self._number += 1
        self._final, self._partial = final, unfinished(final)
        self._part = self._kind(self._partial, self._output.layout, final)
        self._size, self._opened = 0, time.monotonic()
        return self._part

    def _finish(self) -> None:
        assert self._part is not None
        part, self._part = self._part, None
        try:
            part.finish()
            part.publish()
            for path in self._stale:  # only now is there something in their place
                if path != self._final:
                    remove_part(path, self._kind.companions)
            self._stale = []
        finally:
            self._drop()

    def _drop(self) -> None:
        """Forget the part that is open, or what is left of one that could not be finished."""
        if self._part is not None:
            with suppress(Exception):  # what went wrong before says more
                self._part.finish()
            self._part = None
        with suppress(OSError):
            self._partial.unlink(missing_ok=True)


def remove_part(path: Path, companions: Iterable[str]) -> None:
    """Remove a part, and before it what names it."""
    for file in (*(path.with_suffix(other) for other in companions), path):
        file.unlink(missing_ok=True)
