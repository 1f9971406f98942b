"""Files of lines that grow while a job runs: each line is handed to the system at once, whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from emotion2vec.disk import naming
from emotion2vec.files import sync
from emotion2vec.places import read_at


class Lines:
    """Adds lines to a file.

    A disk that cannot take a line leaves the file as it was before it, and later ones may fit again. What a process
    that was killed left without an end becomes a line of its own.

    Args:
        path: of the file, which is made.
        anew: empty it first.

    Raises:
        OSError: it cannot be opened; it has the file's name.
    """

    def __init__(self, path: Path, *, anew: bool = False):
        self.path = path
        with naming(path):
            self._stream = open(path, "ab+" if not anew else "wb+", buffering=0)  # noqa: SIM115 (closed by close)
            self._cut = self._end() > 0 and read_at(self._stream.fileno(), 1, self._end() - 1) != b"\n"

    def add(self, text: str) -> None:
        """Write lines; odd names in them (surrogates of bytes) are written as those bytes.

        Raises:
            OSError: the disk does not take them; it has the file's name.
        """
        end = self._end()
        left = memoryview(("\n" * self._cut + text).encode("utf-8", "surrogateescape"))
        try:
            with naming(self.path):
                while left:
                    left = left[self._stream.write(left) :]
        except OSError:
            with suppress(OSError):
                self._stream.truncate(end)
            raise
        self._cut = False

    def close(self) -> None:
        """Have the file on disk, and close it.

        Raises:
            OSError: it is not on disk; it has the file's name.
        """
        try:
            with naming(self.path):
                sync(self.path)
        finally:
            self._stream.close()

    def _end(self) -> int:
        return self._stream.seek(0, os.SEEK_END)
