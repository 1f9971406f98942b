"""What a dry run is made of: a job that is ended when its speed is known, a place for it, and what is said of it."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion2vec.cli.log import say
from emotion2vec.environment import variables
from emotion2vec.errors import AudioError, ConfigError
from emotion2vec.progress import Progress
from emotion2vec.units import counted, data_size, duration

if TYPE_CHECKING:
    from emotion2vec.corpora.utterance import Utterance

ENOUGH_SECONDS = 1.0
"""Work that is measured, in s, after what came first, which is slower."""
MOST_HEADERS = 200
"""Files whose lengths are looked at; of more, the others are taken to be like them."""


class EnoughError(Exception):
    """A second of work was measured."""


class Stopwatch:
    """Called back by a job: ends it when its speed is known.

    Attributes:
        first: where it stood when it was called first, and when, in s.
        last: the same of the last call.
    """

    def __init__(self) -> None:
        self.first: tuple[Progress, float] | None = None
        self.last: tuple[Progress, float] | None = None
        self._before = 0

    def __call__(self, progress: Progress) -> None:
        """Note where the job stands; a second model or fold counts from 1 again."""
        now = time.monotonic()
        if self.last is not None and progress.done < self.last[0].done:
            self._before += self.last[0].done
        self.first, self.last = self.first or (progress, now), (progress, now)
        if now - self.first[1] >= ENOUGH_SECONDS and self.done > self.first[0].done:
            raise EnoughError

    @property
    def done(self) -> int:
        """How many items were done."""
        return self._before + self.last[0].done if self.last else 0

    def each(self) -> float | None:
        """Seconds for an item, without the first ones where enough follow; None where nothing was done."""
        if self.first is None or self.last is None or not self.done:
            return None
        (before, begun), (after, ended) = self.first, self.last
        if ended - begun >= ENOUGH_SECONDS and self.done > before.done:
            return (ended - begun) / (self.done - before.done)
        return after.elapsed / after.done if after.done else None


@contextmanager
def elsewhere() -> Iterator[Path]:
    """A temporary folder, which what is remembered of the machine goes to as well; enough work ends what is in it."""
    from emotion2vec.hardware import CACHE_VARIABLE

    with tempfile.TemporaryDirectory(prefix="emotion2vec-dry-run-") as name:
        kept = {CACHE_VARIABLE: f"{name}/cache", "MPLCONFIGDIR": f"{name}/matplotlib"}
        with variables(**kept), suppress(EnoughError):
            yield Path(name) / "work"


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def rehearse(job: Callable[[Path, Stopwatch], object]) -> tuple[Stopwatch, int]:
    """Let a job work for a second, in a folder that it may make; what was measured, and the bytes that it wrote."""
    watch = Stopwatch()
    with elsewhere() as folder:
        try:
            job(folder, watch)
        finally:
            size = size_of(folder)
    return watch, size


def check_place(path: Path, what: str) -> None:
    """See to it that something can be written at a path, as far as can be told without writing.

    Raises:
        ConfigError: it cannot.
    """
    there = next(parent for parent in [path, *path.absolute().parents] if parent.exists())
    if there != path and not there.is_dir():
        raise ConfigError(f"{what} {path}: {there} is a file, expected a folder")
    if not os.access(there, os.W_OK):
        raise ConfigError(f"{what} {path}: no permission to write to {there}")


def audio_seconds(items: Sequence[Utterance]) -> float | None:
    """About how much audio there is, in s, by the headers of some; None where none says."""
    from emotion2vec.audio.decode.reading import read_header

    found = []
    for item in items[:: max(1, len(items) // MOST_HEADERS)]:
        seconds = item.duration
        if seconds is None and isinstance(item.audio, Path):
            try:
                header = read_header(item.audio, item.where, thorough=False)
            except AudioError:
                continue
            seconds = header.samples / header.rate - (item.start or 0.0)
        if seconds is not None:
            found.append(seconds)
    return sum(found) / len(found) * len(items) if found else None


def tell(
    verb: str, watch: Stopwatch, *, what: str, total: int, output: object, size: float | None, **facts: Any
) -> None:
    """Say what would be done.

    Args:
        verb: what does it.
        watch: what was measured.
        what: what there is to do, in words.
        total: items or updates to do.
        output: where to; None for stdout.
        size: bytes that would be written; None where nothing is known.
        **facts: further ones, said by their names.
    """
    each = watch.each()
    seconds = None if each is None else each * total
    say(f"dry run of {verb}: nothing is written", event="dry_run")
    say(what, event="inputs", total=total)
    for name, value in facts.items():
        say(f"{name}: {value}", event=name)
    amount = "" if size is None else f", about {data_size(size)}"
    where = "stdout" if output is None else str(output)
    say(f"output: {where}{amount}", event="output", output=where, bytes=None if size is None else round(size))
    if seconds is None:
        say("time: not known, nothing of what was tried could be done", event="time", seconds=None)
    else:
        measured = f"about {duration(seconds)}, by {watch.done} of {total} here"
        say(f"time: {measured}", event="time", seconds=seconds, measured=watch.done)


def whole(size: int, watch: Stopwatch, total: int) -> float | None:
    """Bytes of all items, by those of the ones that were done; None where none was."""
    return size / watch.done * total if watch.done else None


def files_in_words(items: Sequence[Utterance]) -> str:
    """How many there are, and how long they are."""
    seconds = audio_seconds(items)
    audio = "of unknown length" if seconds is None else f"about {duration(seconds)} of audio"
    return f"inputs: {counted(len(items), 'utterance')}, {audio}"


def models_in_words(model: Any) -> str:
    """Names of models."""
    return ", ".join(map(str, [model] if isinstance(model, str | Path) else model))
