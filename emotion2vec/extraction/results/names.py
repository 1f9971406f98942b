"""Names of files that are made of recordings."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

from emotion2vec.corpora.names import stem, without_suffix

LONGEST = 200
"""Bytes of a name, without its suffix; file systems take 255."""


def file_names(files: Sequence[str]) -> dict[str, str]:
    """Names for what is made of recordings: their stems, or as much of their paths as tells them apart."""
    named = {file: stem(file) or "recording" for file in files}
    for longer in (lambda file: without_suffix(file), lambda file: file):
        often = Counter(name.casefold() for name in named.values())
        for file, name in named.items():
            if often[name.casefold()] > 1:
                named[file] = longer(file)
    taken: set[str] = set()
    for file, name in named.items():
        safe = shown = _safe(name)
        count = 1
        while shown.casefold() in taken:
            count += 1
            shown = f"{safe} ({count})"
        taken.add(shown.casefold())
        named[file] = shown
    return named


def _safe(name: str) -> str:
    """A name that is one part of a path, and not too long."""
    flat = name.replace("://", "/").replace("\\", "/").strip("./").replace("/", "_").replace("\0", "_")
    try:
        os.fsencode(flat)
    except UnicodeEncodeError:  # half a character
        flat = flat.encode("utf-8", "replace").decode()
    flat = flat[:LONGEST]
    while len(os.fsencode(flat)) > LONGEST:
        flat = flat[:-1]
    return flat or "recording"
