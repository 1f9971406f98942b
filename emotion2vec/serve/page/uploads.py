"""Files that browsers sent and files to download: how much there is of them, for whom, and until when."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from weakref import WeakSet

from emotion2vec.serve.errors import TOO_LARGE, RequestError
from emotion2vec.serve.page.session import Session
from emotion2vec.serve.page.shelf import Shelf

LOG = logging.getLogger(__name__)

AGE = 600.0
"""Time after which files and clips go that no open page names, in s."""

PERIOD = 60.0
"""Time between two looks at them, in s."""


class Uploads:
    """The folder that Gradio keeps files in.

    Args:
        folder: of theirs.
        most: bytes that may lie there.
        shelf: with the clips of these files.
    """

    def __init__(self, folder: Path, most: float, shelf: Shelf):
        self.folder, self._most, self._shelf = folder.resolve(), most, shelf
        self._coming = 0
        self._sessions: WeakSet[Session] = WeakSet()
        self._lock = threading.Lock()

    def know(self, session: Session) -> None:
        """Keep what a session names, as long as there is one."""
        with self._lock:
            self._sessions.add(session)

    def admit(self, size: int) -> None:
        """Have room for an upload of so many bytes, until `arrived`.

        Raises:
            RequestError: there is none.
        """
        if size > self._most:
            told = f"the upload has {size / 1e6:.1f} MB, expected at most {self._most / 1e6:.1f}"
            raise RequestError(TOO_LARGE, told)
        if not self._fits(size):
            self.sweep()
        with self._lock:
            if not self._fits(size):
                raise RequestError(429, "there is no room for more uploads; try again later", retry_after=AGE)
            self._coming += size

    def arrived(self, size: int) -> None:
        """Take an upload that was admitted as one that lies there, or that never came."""
        with self._lock:
            self._coming -= size

    def _fits(self, size: int) -> bool:
        return self._coming + size + sum(facts.st_size for _, facts in self._files()) <= self._most

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for folder, _, names in os.walk(self.folder):
            for path in (Path(folder, name) for name in names):
                with suppress(FileNotFoundError):
                    yield path, path.stat()

    def remove(self, paths: Sequence[str]) -> None:
        """Remove files that no session names."""
        named = self._named()
        for path in {os.path.realpath(path) for path in paths} - named:
            if Path(path).is_relative_to(self.folder):
                Path(path).unlink(missing_ok=True)

    def sweep(self, age: float = AGE) -> None:
        """Remove files and clips that are older than so many s and that no session names."""
        named, since = self._named(), time.time() - age
        for path, facts in self._files():
            if facts.st_mtime < since and not {str(path), str(path.parent)} & named:
                path.unlink(missing_ok=True)
        for folder, _, _ in os.walk(self.folder, topdown=False):
            with suppress(OSError):  # mostly that it is not empty
                if Path(folder) != self.folder and os.stat(folder).st_mtime < since:
                    os.rmdir(folder)
        with self._lock:
            shown = {key for session in self._sessions for key in session.shown()}
        self._shelf.keep(shown, age)

    def _named(self) -> set[str]:
        with self._lock:
            return {os.path.realpath(path) for session in self._sessions for path in session.named()}

    @contextmanager
    def swept(self, alive: Path) -> Iterator[None]:
        """Sweep now and then while entered, and show by a folder's time that somebody does."""
        stop = threading.Event()

        def run() -> None:
            while not stop.wait(PERIOD):
                try:
                    os.utime(alive)
                    self.sweep()
                except Exception:
                    LOG.exception("uploads could not be looked through")

        thread = threading.Thread(target=run, name="uploads", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
