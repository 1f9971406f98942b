"""Where features go: a folder of `.npy` files, or one `.npz` archive.

Every file appears under its name only when it is complete. T: frames. D: model width. L: layers.
"""

from __future__ import annotations

import errno
import os
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import numpy as np

from emotion2vec.data.manifests import Utterance
from emotion2vec.errors import ConfigError, ManifestError

FORMATS = ("npy", "npz")
"""Names of the formats that can be written."""

ARCHIVE_NAME = "features.npz"
"""The archive's name when the output is a folder."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}


class Writer(Protocol):
    """Takes the features of one utterance at a time."""

    def target(self, utterance: Utterance) -> str:
        """Where the utterance's features go, below the output; two utterances with one target would collide.

        Raises:
            ManifestError: the id would leave the output.
        """

    def has(self, utterance: Utterance, shape: tuple[int | None, ...]) -> bool:
        """Whether complete features of this shape (None: any length) are there already."""

    def write(self, utterance: Utterance, features: np.ndarray) -> None:
        """Write one array: ([L,] [T,] D) float32.

        Raises:
            ManifestError: the id would leave the output.
            OSError: this array cannot be written.
            ConfigError: nothing more can be written.
        """

    def close(self) -> None:
        """Finish; what was written so far stays, also after an error."""


def open_writer(format: str, output: str | Path, *, resume: bool) -> Writer:
    """Create the writer of a format; for npz, `output` is the archive if it ends in .npz, else its folder.

    Raises:
        ConfigError: the output cannot be created or, to resume, cannot be read.
    """
    output = Path(output)
    is_archive = output.suffix.lower() == ".npz"
    if is_archive and format != "npz":
        raise ConfigError(f"output {output} is the name of an archive, but format is {format!r}, expected npz")
    folder = output.parent if is_archive else output
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"output {output}: {folder} is no folder, expected one or a free name")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"output {output}: {folder} cannot be created: {error.strerror}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"output {output}: no permission to write to {folder}")
    if format == "npy":
        return NpyWriter(folder)
    return NpzWriter(output if is_archive else output / ARCHIVE_NAME, resume=resume)


def safe_name(utterance: Utterance) -> str:
    """The utterance's id, if it can be a relative path on any system.

    Raises:
        ManifestError: it has an empty part, `.`, `..`, a backslash or NUL, or is absolute.
    """
    name = utterance.id
    if "\\" in name or "\0" in name or any(part in ("", ".", "..") for part in name.split("/")):
        raise ManifestError(
            f"the id {name!r} cannot name an output: expected a relative path without empty parts, '.', '..', "
            "backslashes and NUL"
        )
    return name


class NpyWriter:
    """Writes `<folder>/<id>.npy`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._root = folder.resolve()
        self._made: set[Path] = set()
        self._partial_name = f".{uuid4().hex}.partial"

    def target(self, utterance: Utterance) -> str:
        """The file's path below the folder."""
        return safe_name(utterance) + ".npy"

    def has(self, utterance: Utterance, shape: tuple[int | None, ...]) -> bool:
        """Whether the file is there, whole, and of this shape."""
        try:
            found = np.load(self.folder / self.target(utterance), mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return False
        return isinstance(found, np.ndarray) and found.dtype == np.float32 and _fits(found.shape, shape)

    def write(self, utterance: Utterance, features: np.ndarray) -> None:
        """Write to a temporary name beside the file, then rename."""
        path = self.folder / self.target(utterance)
        self._make_parent(path.parent, utterance)
        partial = path.with_name(self._partial_name)
        try:
            with open(partial, "wb") as stream:
                np.lib.format.write_array(stream, np.ascontiguousarray(features), allow_pickle=False)
            os.replace(partial, path)
        except OSError as error:
            if error.errno in _FULL:
                raise ConfigError(f"output {self.folder}: nothing more can be written: {error.strerror}") from error
            raise
        finally:
            partial.unlink(missing_ok=True)

    def close(self) -> None:
        """Nothing is left to do: every file is finished when it is written."""

    def _make_parent(self, parent: Path, utterance: Utterance) -> None:
        if parent in self._made:
            return
        # Links in the folder may lead out of it, whatever the id looks like; look before anything is created.
        if not parent.resolve().is_relative_to(self._root):
            raise ManifestError(f"the id {utterance.id!r} follows a link out of {self.folder}, expected to stay inside")
        parent.mkdir(parents=True, exist_ok=True)
        self._made.add(parent)


class NpzWriter:
    """Writes one uncompressed archive with an array per id, that `np.load` reads; memory use does not grow with it.

    The archive gets its name when it is closed. To resume, the arrays of the archive that is there are carried over.
    """

    def __init__(self, path: Path, *, resume: bool):
        self.path = path
        self._partial = path.with_name(f".{uuid4().hex}.partial")
        self._archive: zipfile.ZipFile | None = None
        self._broken = False
        # An interrupt reaches the main thread only, so it cannot cut an array in two that this thread writes.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="npz")
        self._present = _members(path) if resume and path.exists() else {}

    def target(self, utterance: Utterance) -> str:
        """The array's name in the archive, with the `.npy` that `np.load` takes off."""
        name = safe_name(utterance)
        try:
            name.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ManifestError(f"the id {name!r} cannot name an array in an archive: it is not UTF-8") from error
        return name + ".npy"

    def has(self, utterance: Utterance, shape: tuple[int | None, ...]) -> bool:
        """Whether the archive that is being resumed has an array of this shape."""
        name = self.target(utterance)
        return name in self._present and _fits(self._present[name], shape)

    def write(self, utterance: Utterance, features: np.ndarray) -> None:
        """Add one array to the archive."""
        self._thread.submit(self._add, self.target(utterance), features).result()

    def close(self) -> None:
        """Finish the archive and give it its name; without any new array nothing is changed."""
        self._thread.shutdown()
        if self._archive is None:
            return
        try:
            if not self._broken:
                self._carry_over()
                self._archive.close()
                os.replace(self._partial, self.path)
        except OSError as error:
            raise self._not_writable(error) from error
        finally:
            self._partial.unlink(missing_ok=True)

    def _add(self, name: str, features: np.ndarray) -> None:
        try:
            if self._archive is None:
                self._archive = zipfile.ZipFile(self._partial, "w", zipfile.ZIP_STORED)
            with self._archive.open(name, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(features), allow_pickle=False)
        except OSError as error:
            self._broken = True
            raise self._not_writable(error) from error

    def _not_writable(self, error: OSError) -> ConfigError:
        return ConfigError(f"output {self.path}: the archive cannot be written: {error.strerror or error}")

    def _carry_over(self) -> None:
        """Copy the arrays of the earlier archive that were not written anew."""
        assert self._archive is not None
        names = self._present.keys() - set(self._archive.namelist())
        if names:
            with zipfile.ZipFile(self.path) as earlier:
                for name in sorted(names):
                    with earlier.open(name) as source, self._archive.open(name, "w", force_zip64=True) as target:
                        shutil.copyfileobj(source, target)


def _members(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the arrays in an archive that this module wrote, from their headers alone."""
    shapes = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as member:
                    np.lib.format.read_magic(member)
                    shapes[name] = np.lib.format.read_array_header_1_0(member)[0]
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ConfigError(f"output {path}: cannot be resumed, it is no whole archive of arrays: {error}") from error
    return shapes


def _fits(found: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(found) == len(wanted) and all(w in (None, f) for f, w in zip(found, wanted, strict=True))
