"""Hashes of files' contents, remembered between runs for files that have not changed since.

A file counts as unchanged when its path, size, time of change and time of the change of its entry (ctime) are the same;
the last is what copying with preserved times and most clocks that were set back do not keep. Files that changed within
the last seconds before they were hashed are not remembered, for a further change might not move their times.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from emotion2vec.corpora.names import span_name
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.errors import ConfigError
from emotion2vec.files import write_text

FOLDER = "contents"
SETTLED_SECONDS = 2.0
"""Age from which a file's times can be trusted to move when it changes; the coarsest file systems tick every 2 s."""

Signature = list[int]
"""Size, time of change and ctime, the times in ns."""


def content_key(path: Path) -> str | None:
    """Hash of a file's bytes, or None when it cannot be read."""
    digest = hashlib.blake2b(digest_size=16)
    try:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError:
        return None
    return digest.hexdigest()


def content_keys(paths: Sequence[Path], cache: str | Path | None = None) -> list[str | None]:
    """Hash of each file's bytes, or None where it cannot be read.

    Args:
        paths: the files.
        cache: the probe's cache folder, which remembers hashes; None reads every file.

    Raises:
        ConfigError: the cache cannot be written.
    """
    if cache is None:
        return [content_key(path) for path in paths]
    absolute = [os.path.abspath(path) for path in paths]
    root = os.path.commonpath(absolute) if absolute else ""
    memory = Path(cache) / FOLDER / f"{hashlib.blake2b(root.encode(), digest_size=12).hexdigest()}.json"
    known = _read(memory)
    fresh: dict[str, list[Any]] = {}
    keys = [_known_key(name, known, fresh) for name in absolute]
    if fresh:
        try:
            write_text(memory, json.dumps(known | fresh))
        except OSError as error:
            raise ConfigError(f"cache {cache}: cannot be written: {error.strerror}") from error
    return keys


def stretch_keys(utterances: Sequence[Utterance], cache: str | Path | None = None) -> list[str | None]:
    """Hash of each utterance's file, with the stretch and channel that it is of it; see `content_keys`."""
    keys = content_keys([one.path for one in utterances], cache)
    return [
        None
        if key is None
        else key + span_name(one.start, one.duration) + f"_channel{one.channel}" * (one.channel is not None)
        for one, key in zip(utterances, keys, strict=True)
    ]


def _known_key(name: str, known: dict[str, list[Any]], fresh: dict[str, list[Any]]) -> str | None:
    """The remembered hash of an unchanged file, or its hash now, which goes into `fresh` when it can be trusted."""
    before = _signature(name)
    found = known.get(name)
    if before is not None and found is not None and found[:-1] == before:
        return str(found[-1])
    key = content_key(Path(name))
    settled = before is not None and time.time() - max(before[1:]) / 1e9 > SETTLED_SECONDS
    if before is not None and key is not None and settled and _signature(name) == before:
        fresh[name] = [*before, key]
    return key


def _signature(name: str) -> Signature | None:
    try:
        facts = os.stat(name)
    except OSError:
        return None
    return [facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns]


def _read(memory: Path) -> dict[str, list[Any]]:
    """What was remembered; a file that is not ours, or broken, is nothing."""
    try:
        found = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {str(name): entry for name, entry in found.items() if isinstance(entry, list) and len(entry) == 4}


def combined_key(paths: Iterable[Path], cache: str | Path | None = None) -> str:
    """One hash of the contents of several files, in order; for reports."""
    digest = hashlib.blake2b(digest_size=16)
    for key in content_keys(list(paths), cache):
        digest.update((key or "absent").encode())
    return digest.hexdigest()
