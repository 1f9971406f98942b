"""Names of audio: what of a name is its suffix, when two names are the same, and when two folders may be."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

from emotion2vec.audio.decode.suffixes import AUDIO_SUFFIXES

CONTAINERS = frozenset({
    "aac", "aiff", "audio", "audios", "clips", "data", "downloads", "files", "flac", "m4a", "mp3", "mp4", "ogg", "opus",
    "recordings", "sounds", "speech", "sph", "wav", "wave", "wavs", "webm",
})  # fmt: skip
"""Folders whose names say only that audio is in them, or of which kind: these change when it is converted or moved."""


def split_suffix(name: str) -> tuple[str, str]:
    """Divide a name or path into what identifies it and its audio suffix: `X.orig.opus` -> `X.orig`, `.opus`.

    A suffix that is none of audio stays where it is: `X.orig` has none. What is left is never nothing but dots.
    """
    last = name.rpartition("/")[2]
    suffix = PurePosixPath(last).suffix
    if suffix.lower() not in AUDIO_SUFFIXES or not last[: -len(suffix)].strip("."):
        return name, ""
    return name[: -len(suffix)], suffix


def without_suffix(path: str | PurePath) -> str:
    """A path with `/` between its parts and without an audio suffix."""
    return split_suffix(path.as_posix() if isinstance(path, PurePath) else path)[0]


def stem(path: str | PurePath) -> str:
    """A file's name without an audio suffix."""
    return without_suffix(path).rpartition("/")[2]


def path_id(path: Path, base: Path) -> str:
    """Path below `base` (elsewhere: from the file system's root) without suffix, with `/` between its parts."""
    path, base = Path(os.path.abspath(path)), Path(os.path.abspath(base))
    below = base if path.is_relative_to(base) else Path(path.anchor)
    return without_suffix(path.relative_to(below))


def leaves_folder(name: str) -> bool:
    """Whether a name that is a path would lead out of the folder that it is looked for in, on this system."""
    path = PurePath(name)
    return bool(path.anchor) or ".." in path.parts


def span_name(start: float | None, duration: float | None) -> str:
    """Suffix that tells the stretches of one file apart, `_start_end` in s; nothing for a whole file."""
    if start is None and duration is None:
        return ""
    first = start or 0.0
    return f"_{first:.3f}_" + ("end" if duration is None else f"{first + duration:.3f}")


def normal(name: str) -> str:
    """The name in the Unicode form in which names are compared (NFC): macOS writes others than it is given."""
    return unicodedata.normalize("NFC", name)


def folders_agree(first: Sequence[str], second: Sequence[str]) -> bool:
    """Whether two rows of folders may be one place: from the end on, as far as both go, they have the same names.

    `CONTAINERS` are left out: `downloads/emodb/wav` and `emodb/audio` agree, `s1` and `s2` do not.
    """
    ends = [[normal(name) for name in reversed(names) if not _is_container(name)] for names in (first, second)]
    overlap = min(map(len, ends))
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(*ends, strict=False))) == overlap


def _is_container(name: str) -> bool:
    return name.lower() in CONTAINERS or name in ("", ".", "..", "/")


def from_windows(path: str) -> str:
    r"""A path with backslashes as one with slashes below wherever paths start: `C:\data\a.wav` -> `data/a.wav`."""
    windows = PureWindowsPath(path)
    return windows.relative_to(windows.anchor).as_posix()
