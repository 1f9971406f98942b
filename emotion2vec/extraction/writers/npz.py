"""One `.npz` archive with an array per item, which `np.load` reads."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np

from emotion2vec.corpora.utterance import Utterance
from emotion2vec.errors import ConfigError
from emotion2vec.extraction.encode.arrays import Arrays
from emotion2vec.extraction.writers.base import Output, array_names, utf8_name, write_npy
from emotion2vec.files import publish, tidy, unfinished


class NpzWriter:
    """Writes one uncompressed archive with an array per id, that `np.load` reads; memory use does not grow with it.

    The archive gets its name when it is closed. To resume, the arrays of the archive that is there are carried over.
    """

    separate, nested, at_once, stores_facts = False, False, False, False

    def __init__(self, output: Output):
        self.path = path = output.path(".npz")
        self._output = output
        self._partial = unfinished(path)
        tidy(path.parent)
        self._archive: zipfile.ZipFile | None = None
        self._broken = False
        # An interrupt reaches the main thread only, so it cannot cut an array in two that this thread writes.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="npz")
        self._present = _members(path) if output.resume and path.exists() else {}

    def targets(self, item: Utterance) -> list[str]:
        """The arrays' names in the archive, with the `.npy` that `np.load` takes off."""
        return [f"{name}.npy" for name in array_names(self._output.layout, utf8_name(item)).values()]

    def has(self, item: Utterance) -> bool:
        """Whether the archive that is being resumed has the arrays, of the right shape and dtype."""
        wanted = zip(self.targets(item), self._output.layout.values(), strict=True)
        return all(name in self._present and spec.fits(*self._present[name]) for name, spec in wanted)

    def remove(self, items: Sequence[Utterance]) -> None:
        """Do not carry the arrays over."""
        for item in items:
            for target in self.targets(item):
                self._present.pop(target, None)

    def write(self, item: Utterance, arrays: Arrays) -> None:
        """Add the item's arrays to the archive."""
        self._thread.submit(self._add, self.targets(item), arrays).result()

    def close(self) -> None:
        """Finish the archive and give it its name; without any new array nothing is changed."""
        self._thread.shutdown()
        if self._archive is None:
            return
        try:
            if not self._broken:
                self._carry_over()
                self._archive.close()
                publish(self._partial, self.path)
        except OSError as error:
            raise self._not_writable(error) from error
        finally:
            self._archive.fp = None  # else it would try to write its end once more
            with suppress(OSError):  # what went wrong before says more
                self._partial.unlink(missing_ok=True)

    def _add(self, names: list[str], arrays: Arrays) -> None:
        try:
            if self._archive is None:
                self._archive = zipfile.ZipFile(self._partial, "w", zipfile.ZIP_STORED)
            end = self._archive.start_dir
            try:
                for name, array in zip(names, arrays.values(), strict=True):
                    with self._archive.open(name, "w", force_zip64=True) as member:
                        write_npy(member, array)
            except BaseException:
                self._take_back(names, end)
                raise
        except OSError as error:
            self._broken = True
            raise self._not_writable(error) from error

    def _take_back(self, names: list[str], end: int) -> None:
        """Forget an item that was not written whole: the next one is written over it."""
        assert self._archive is not None
        for info in filter(None, (self._archive.NameToInfo.pop(name, None) for name in names)):
            self._archive.filelist.remove(info)
        self._archive.start_dir = end

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


def _members(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Names, shapes and dtypes of the arrays in an archive that this module wrote, from their headers alone."""
    found = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as member:
                    np.lib.format.read_magic(member)
                    shape, _, dtype = np.lib.format.read_array_header_1_0(member)
                    found[name] = shape, dtype
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ConfigError(f"output {path}: cannot be resumed, it is no whole archive of arrays: {error}") from error
    return found
