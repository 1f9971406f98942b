"""What all writers share: names that never leave the output, errors, and files that appear only when complete."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PureWindowsPath
from typing import IO, Protocol

import numpy as np

from emotion2vec.corpora.faults import shortened
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.disk import FULL
from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.extraction.encode.arrays import Arrays, FeatureArray, Layout
from emotion2vec.files import publish, sync, tidy, unfinished


@dataclass(frozen=True)
class Output:
    """Where a writer writes, and what.

    Attributes:
        folder: exists; nothing outside it is touched.
        layout: the arrays of every item.
        resume: keep what earlier jobs completed.
        tag: added to the names of files that hold many items, so that shards do not share them.
        name: the file's own name where the user gave one, in place of `features` with the tag.
    """

    folder: Path
    layout: Layout
    resume: bool = False
    tag: str = ""
    name: str | None = None

    def path(self, suffix: str) -> Path:
        """The file of many items with this suffix."""
        return self.folder / (self.name or f"features{self.tag}{suffix}")


class Writer(Protocol):
    """Takes the arrays of one item at a time.

    Attributes:
        separate: every item has files of its own, so that items may be written in any order, by any number of writers
            in any processes; otherwise they must be written in the order in which they shall be found.
        nested: targets are paths, so that none may lie where another has a folder.
        at_once: what was written is complete when `write` returns, or else is not `has` when a job goes on.
        stores_facts: labels and speakers are written too.
    """

    @property
    def separate(self) -> bool:
        """See the class."""
        ...

    @property
    def nested(self) -> bool:
        """See the class."""
        ...

    @property
    def at_once(self) -> bool:
        """See the class."""
        ...

    @property
    def stores_facts(self) -> bool:
        """See the class."""
        ...

    def targets(self, item: Utterance) -> list[str]:
        """Where the item's arrays go, below the output; two items with a target in common would collide.

        Raises:
            ManifestError: the id cannot be a name there, or would leave the output.
        """

    def has(self, item: Utterance) -> bool:
        """Whether complete arrays of the layout are there already, to be kept."""

    def remove(self, items: Sequence[Utterance]) -> None:
        """Take away the arrays of items that `has` them: they are of other audio.

        Raises:
            ConfigError: the output cannot be changed.
        """

    def write(self, item: Utterance, arrays: Arrays) -> None:
        """Write the arrays of one item, taking their parts in order.

        Raises:
            ManifestError: the id cannot be a name there, or would leave the output.
            OSError: this item cannot be written.
            ConfigError: nothing more can be written.
        """

    def close(self) -> None:
        """Finish, and have everything on disk; what was written so far stays, also after an error."""


def safe_name(item: Utterance) -> str:
    """The item's id, if it can be a relative path on any system.

    Raises:
        ManifestError: it has an empty part, `.`, `..`, a drive (`C:`), a backslash or NUL, or is absolute; or it has
            half a character, or, on Windows, a part that is read there as another one, as `con`, `x:y` and `x.` are.
    """
    name = item.id
    if "\\" in name or "\0" in name or any(_is_place(part) for part in name.split("/")):
        raise ManifestError(
            f"the id {shortened(name, 200)!r} cannot name an output: expected a relative path without empty parts, "
            "'.', '..', drives (C:), backslashes and NUL"
        )
    try:
        os.fsencode(name)
    except UnicodeEncodeError as error:
        raise ManifestError(f"the id {shortened(name, 200)!r} cannot name an output: {error.reason}") from error
    return name


def _is_place(part: str, windows: bool = os.name == "nt") -> bool:
    """Whether a part of a path is another place than the file or folder of that name."""
    if part in ("", ".", "..") or PureWindowsPath(part).drive:
        return True
    return windows and (":" in part or part != part.rstrip(" .") or _DEVICE.match(part) is not None)


_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *([.:]|$)", re.IGNORECASE)
"""Names that Windows has for devices, in whatever folder and with whatever suffix."""


def escaped(text: str) -> str:
    r"""Text that any file can hold: what is no Unicode is written as `\udce9`, which no id looks like by itself."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def printable(text: str | None) -> str | None:
    """The same of what may be missing; a NUL, which some files cannot hold, is escaped too."""
    return None if text is None else escaped(text).replace("\0", "\\x00")


def utf8_name(item: Utterance) -> str:
    """The item's id as a name inside a file, see `escaped`.

    Raises:
        ManifestError: it is not safe, or longer than any path.
    """
    name = escaped(safe_name(item))
    if len(name.encode()) > LONGEST_NAME:
        raise ManifestError(f"the id {name[:40]!r}... cannot name an array: it has more than {LONGEST_NAME} bytes")
    return name


def array_names(layout: Layout, name: str) -> dict[str, str]:
    """Names of an item's arrays: its own when there is one array, else with the array's behind it."""
    return {key: name if len(layout) == 1 else f"{name}.{key}" for key in layout}


@contextmanager
def whole_file(path: Path, root: Path) -> Iterator[IO[bytes]]:
    """Open a file that gets its name only when all of it is on disk; the name is when its folder is synced.

    Raises:
        ConfigError: the disk is full or can no longer be written to.
    """
    partial = unfinished(path)
    try:
        with open(partial, "wb") as stream:
            yield stream
        publish(partial, path, sync_folder=False)
    except OSError as error:
        if error.errno in FULL:
            raise ConfigError(f"output {root}: nothing more can be written: {error.strerror}") from error
        raise
    finally:
        with suppress(OSError):  # what went wrong before says more
            partial.unlink(missing_ok=True)


def write_npy(stream: IO[bytes], array: FeatureArray) -> None:
    """Write one array in NumPy's format, piece by piece."""
    header = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(stream, header)
    for piece in array.in_order():
        stream.write(piece.data)


NAME_BYTES, PATH_BYTES, LONGEST_NAME = 255, 2000, 32_768
"""Longest name of a file or folder on the usual file systems, longest path below an output (half of Linux's), and
longest name inside a file."""

MOST_FOLDERS = 100
"""Folders that a path may lead through."""


def check_lengths(target: str, item: Utterance) -> str:
    """A file's path below the output, if the disk can hold its names.

    Raises:
        ManifestError: a name is too long, or the path, or it is no text of this system.
    """
    try:
        os.fsencode(target)
    except UnicodeEncodeError as error:
        raise ManifestError(f"the id {item.id!r} cannot name a file: {escaped(str(error))}") from error
    if len(os.fsencode(target)) > PATH_BYTES or target.count("/") > MOST_FOLDERS:
        raise ManifestError(
            f"the id {item.id[:40]!r}... cannot name a file: expected a path of at most {PATH_BYTES} bytes and "
            f"{MOST_FOLDERS} folders"
        )
    if (longest := max(len(os.fsencode(part)) for part in target.split("/"))) > NAME_BYTES:
        raise ManifestError(
            f"the id {item.id[:40]!r}... cannot name a file: a name of {longest} bytes, expected at most {NAME_BYTES}; "
            "formats with many items in a file can hold it"
        )
    return target


def remove_files(folder: Path, targets: Sequence[str]) -> None:
    """Remove files below a folder.

    Raises:
        ConfigError: one cannot be removed.
    """
    for target in targets:
        try:
            (folder / target).unlink(missing_ok=True)
        except OSError as error:
            raise ConfigError(f"output {folder / target}: cannot be replaced: {error.strerror}") from error


class SafeFolder:
    """Makes folders below a root, and none that a link leads out of it.

    Names of new files are on disk when `sync` is called: once for many files, since waiting for the folder after every
    one takes several times as long as writing it. A machine that loses its power before that loses names, and a job
    that is resumed does those again.
    """

    def __init__(self, root: Path):
        self.root = root
        self._resolved = root.resolve()
        self._made: set[Path] = set()

    def make_parent(self, path: Path, item: Utterance) -> None:
        """Create the folder of a file.

        Raises:
            ManifestError: it lies outside, through a link.
        """
        parent = path.parent
        if parent in self._made:
            return
        # Links in the folder may lead out of it, whatever the id looks like; look before anything is created.
        if not parent.resolve().is_relative_to(self._resolved):
            raise ManifestError(f"the id {item.id!r} follows a link out of {self.root}, expected to stay inside")
        try:
            parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if error.errno in FULL:
                raise ConfigError(f"output {self.root}: nothing more can be written: {error.strerror}") from error
            raise
        tidy(parent)
        self._made.add(parent)

    def sync(self) -> None:
        """Have the names in all folders on disk that files were written to, and the names of those folders.

        Raises:
            ConfigError: the disk does not take them.
        """
        inside = {above for made in self._made for above in (made, *made.parents) if above.is_relative_to(self.root)}
        try:
            for folder in sorted(inside):
                sync(folder)
        except OSError as error:
            raise ConfigError(f"output {self.root}: cannot be written: {error.strerror}") from error
        self._made.clear()


def need_package(package: str, extra: str) -> None:
    """Raise ConfigError if a package is not installed."""
    if find_spec(package) is None:
        raise ConfigError(f"format {extra!r} needs the package {package}: pip install 'emotion2vec[{extra}]'")
