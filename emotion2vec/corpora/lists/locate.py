"""Finding the audio that a list names: as it is named, spelled otherwise, or moved and converted; never by a guess."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from emotion2vec.cells import unguarded
from emotion2vec.corpora.faults import shortened
from emotion2vec.corpora.names import folders_agree, from_windows, normal, split_suffix, stem

WINDOWS, UNICODE, SEARCHED = "path written as on Windows", "name in another Unicode form", "searched by stem"
"""Ways in which a file is found otherwise than it was named, as they are counted."""


@dataclass(frozen=True)
class Located:
    """A file that was found.

    Attributes:
        path: the file.
        listed: its path as it was understood, with `/` between its parts.
        how: in which way it differs from what was named, or None.
    """

    path: Path
    listed: str
    how: str | None = None


class Names:
    """Finds paths in whatever Unicode form their names are on the disk; folders are listed once."""

    def __init__(self) -> None:
        self._folders: dict[Path, dict[str, list[str]]] = {}

    def same(self, path: Path) -> list[Path]:
        """What has the names of a path in other Unicode forms; nothing for names of ASCII, which have one."""
        if path.as_posix().isascii():
            return []
        places = [Path(path.anchor)]
        for part in path.relative_to(path.anchor).parts:
            exact = [place / part for place in places if os.path.lexists(place / part)]
            places = exact or [place / name for place in places for name in self._in(place).get(normal(part), [])]
        return places

    def _in(self, folder: Path) -> dict[str, list[str]]:
        """Names in a folder by their normal form."""
        if folder not in self._folders:
            names: dict[str, list[str]] = defaultdict(list)
            with suppress(OSError):
                for name in sorted(os.listdir(folder)):
                    names[normal(name)].append(name)
            self._folders[folder] = dict(names)
        return self._folders[folder]


def as_on_disk(path: Path) -> Path:
    """A path as it is, or, where there is none, the only one whose names have other Unicode forms."""
    if os.path.lexists(path):
        return path
    same = Names().same(path.absolute())
    return same[0] if len(same) == 1 else path


class Locator:
    """Looks for listed files below a folder.

    Args:
        base: where relative paths start.
        files: gives all audio below it; called once, and only when a file is not where it is listed.
    """

    def __init__(self, base: Path, files: Callable[[], Iterable[Path]]):
        self._base = base
        self._files = files
        self._index: dict[str, list[PurePosixPath]] | None = None
        self._names = Names()

    def find(self, listed: str) -> Located | str:
        """The file that a list names, or why there is none.

        Where nothing has the name as it is written, it is tried without spaces around it, without the apostrophe that
        tables of ours have in front of what would be a formula (`emotion2vec.cells`), with the separators of
        Windows, and in other Unicode forms; then it is searched for: a file with the same name, else with the same stem
        and another audio suffix, in a folder that the list does not name differently (`folders_agree`). Two that fit
        are none. What no disk can hold under its name is not there.
        """
        try:
            return self._find(listed)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            return f"{shortened(listed, 100)!r} cannot be the name of a file: {reason}"

    def _find(self, listed: str) -> Located | str:
        spellings = dict.fromkeys([listed, listed.strip(), unguarded(listed)])
        for spelling in spellings:
            if (path := self._at(spelling)).is_file():
                return Located(path, spelling)
        spelling, how = listed.strip(), None
        if "\\" in spelling:
            spelling, how = from_windows(spelling), WINDOWS
            if (path := self._at(spelling)).is_file():
                return Located(path, spelling, how)
        same = [path for path in self._names.same(self._at(spelling)) if path.is_file()]
        if len(same) == 1:
            return Located(same[0], spelling, how or UNICODE)
        if same:
            return f"{listed!r} is {len(same)} files in different Unicode forms, {_two(same)}, expected one"
        return self._search(listed, spelling)

    def _at(self, spelling: str) -> Path:
        return Path(os.path.normpath(self._base / spelling))

    def _search(self, listed: str, spelling: str) -> Located | str:
        wanted = PurePosixPath(spelling)
        stems = self._stems().get(normal(stem(spelling)), [])
        fitting = [path for path in stems if folders_agree(wanted.parts[:-1], path.parts[:-1])]
        suffix = split_suffix(wanted.name)[1].lower()
        named = [path for path in fitting if split_suffix(path.name)[1].lower() == suffix]
        found = [self._base / path for path in named or fitting]
        if len(found) == 1:
            return Located(found[0], spelling, SEARCHED)
        reason = f"{listed!r} does not exist below {self._base}"
        if not found and self._at(spelling).is_dir():
            return f"{listed!r} is a folder below {self._base}, expected an audio file"
        if found:
            return f"{reason}, and {len(found)} files have its stem, such as {_two(found)}: expected one"
        if stems:
            return f"{reason}, and {_count(stems)} its stem only in other folders, such as {self._base / stems[0]}"
        if spelling.startswith('"') and spelling.endswith('"'):
            return f"{reason}; tab-separated lists have no quoting, so that the quotes belong to the name"
        return reason

    def _stems(self) -> dict[str, list[PurePosixPath]]:
        if self._index is None:
            self._index = defaultdict(list)
            for path in self._files():
                below = PurePosixPath(path.relative_to(self._base).as_posix())
                self._index[normal(stem(below))].append(below)
        return self._index


def _two(paths: list[Path]) -> str:
    return f"{str(paths[0])!r} and {str(paths[1])!r}"


def _count(paths: list[PurePosixPath]) -> str:
    return "1 file has" if len(paths) == 1 else f"{len(paths)} files have"
