"""The one way that anything is written: under a temporary name, flushed to disk, then renamed."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from emotion2vec.disk import naming
from emotion2vec.errors import ConfigError
from emotion2vec.owners import is_leftover, this_owner

OF_FILES = frozenset({
    ".npy", ".npz", ".safetensors", ".parquet", ".arrow", ".feather", ".h5", ".hdf5", ".ark", ".scp", ".mat", ".pkl",
    ".pickle", ".csv", ".tsv", ".txt", ".json", ".jsonl", ".yaml", ".yml", ".xml", ".xlsx", ".html", ".htm",
    ".rttm", ".textgrid", ".eaf", ".srt", ".vtt", ".pt2", ".pb", ".py", ".log", ".db", ".sqlite",
    ".md", ".tex", ".pdf", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a",
    ".mp4", ".webm", ".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".pt", ".pth", ".ckpt", ".bin", ".onnx",
})  # fmt: skip
"""Suffixes that everybody takes for those of files, in lower case."""

_SHOWN_BYTES = 160
"""Bytes of a file's name that its temporary one shows, since file systems limit what names take."""

PARTIAL, REPLACED = "partial", "replaced"
"""What is being written, and what was there before it while they change places."""

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
"""Of Linux's `fcntl.h` and `stdio.h`."""

_LEFTOVER = re.compile(
    rf"\.(.+?)(?:\.([A-Za-z0-9-]+\.\d+)\.[0-9a-f]{{8}})?\.({PARTIAL}|{REPLACED})(?:\.\w+)?", re.DOTALL
)
"""Its name, whose it is, and what."""

_tidied: set[tuple[int, Path]] = set()
"""Folders in which leftovers were looked for, by process."""


def unfinished(path: Path, kind: str = PARTIAL) -> Path:
    """A name beside `path`, of this process alone, for what is not complete yet; it says whose it is."""
    fits = len(os.fsencode(path.name)) <= _SHOWN_BYTES
    name = path.name if fits else os.fsencode(path.name)[:_SHOWN_BYTES].decode(errors="ignore")  # whole letters
    return path.with_name(f".{name}.{this_owner()}.{secrets.token_hex(4)}.{kind}")


def tidy(folder: Path) -> None:
    """Clear away what processes that were killed left unfinished in a folder, once in the life of this process."""
    if (here := (os.getpid(), folder)) not in _tidied:
        _tidied.add(here)
        clear(folder)


def clear(folder: Path) -> None:
    """Clear away what processes that were killed left unfinished in a folder.

    What was about to be replaced gets its name back, if nothing has it; what was being written goes.
    """
    with suppress(OSError):
        for path, named, kind in _leftovers(folder):
            if kind == REPLACED and not named.exists():
                os.replace(path, named)
            else:
                _remove(path)


def restore(path: Path) -> None:
    """Give what a process was about to replace when it was killed its name back, for those who only read."""
    if not path.exists():
        with suppress(OSError, ValueError):
            for left, named, kind in _leftovers(path.parent):
                if kind == REPLACED and named == path:
                    os.replace(left, path)
                    return


def _leftovers(folder: Path) -> Iterator[tuple[Path, Path, str]]:
    """What processes that were killed left in a folder: where it is, what it is of, and its kind."""
    for path in list(folder.iterdir()):
        found = _LEFTOVER.fullmatch(path.name)
        if found is not None and is_leftover(path, found[2]):
            yield path, path.with_name(found[1]), found[3]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def complete_folder(folder: Path) -> Iterator[Path]:
    """Give an empty folder to fill; after the block it is on disk under its name, in place of what was there.

    A block that raises leaves what was there, and nothing else.

    Raises:
        OSError: the disk does not take it; it has the folder's name.
    """
    with naming(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        tidy(folder.parent)
        partial = unfinished(folder)
        partial.mkdir()
        try:
            yield partial
            mode = partial.stat().st_mode & 0o666  # the user's umask: safetensors writes for the owner's eyes only
            for path in [*partial.rglob("*"), partial]:
                if path.is_file():
                    path.chmod(mode)
                sync(path)
            _put_in_place(partial, folder)
        finally:
            with suppress(OSError):  # what went wrong before says more
                _remove(partial)  # or what was there before


def _put_in_place(partial: Path, folder: Path) -> None:
    """Give a folder its name, in place of what has it, which stays where that fails."""
    if not folder.exists():
        os.replace(partial, folder)
    elif not _exchange(partial, folder):  # a moment without either
        replaced = unfinished(folder, REPLACED)
        os.replace(folder, replaced)
        try:
            os.replace(partial, folder)
        except OSError:
            os.replace(replaced, folder)
            raise
        _remove(replaced)
    sync(folder.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Have two names change places at once; False where that fails, as it does where the system has no renameat2."""
    with suppress(AttributeError, TypeError, OSError):
        call = ctypes.CDLL(None, use_errno=True).renameat2
        return bool(call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0)
    return False


def complete_file(path: Path) -> AbstractContextManager[Path]:
    """Give a path to write to; after the block the file is on disk under its name, in place of what was there.

    A block that raises leaves what was there, and nothing else.
    """
    return _partial_file(path, publish)


def complete_first(path: Path) -> AbstractContextManager[Path]:
    """The same, but what is at `path` when the block ends stays: of several writers, the first one wins."""
    return _partial_file(path, publish_first)


@contextmanager
def _partial_file(path: Path, give_name: Callable[[Path, Path], None]) -> Iterator[Path]:
    """Give an empty file beside `path`, of this writer alone, to write to; it is named after the block, or removed."""
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        tidy(path.parent)
        partial = unfinished(path)
        partial.touch(exist_ok=False)
        mode = partial.stat().st_mode & 0o666  # the user's umask: safetensors writes for the owner's eyes only
        try:
            yield partial
            partial.chmod(mode)
            give_name(partial, path)
        finally:
            with suppress(OSError):  # what went wrong before says more
                partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file, complete or not at all; odd names in it (surrogates of bytes) are written as those bytes."""
    write_bytes(path, text.encode("utf-8", "surrogateescape"))


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file, complete or not at all."""
    with complete_file(path) as partial:
        partial.write_bytes(data)


def write_json(path: Path, document: Any) -> None:
    """Write a JSON document for people and programs, complete or not at all.

    Raises:
        ValueError: the document holds a NaN or an infinity, which JSON has not; nothing is written.
    """
    write_text(path, json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def publish(partial: Path, path: Path, *, sync_folder: bool = True) -> None:
    """Give a closed file that is complete its name, in place of what was there; it is on disk before and after.

    Args:
        partial: the file.
        path: its name.
        sync_folder: have the name on disk too; whoever writes many files into a folder may call `sync` once for all.
    """
    sync(partial)
    os.replace(partial, path)
    if sync_folder:
        sync(path.parent)


def publish_first(partial: Path, path: Path) -> None:
    """Give a file its name unless that is taken; the folder may have no links, and then the last writer wins."""
    sync(partial)
    try:
        os.link(partial, path)
    except FileExistsError:
        return
    except OSError:
        os.replace(partial, path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Have a file or a folder on disk; some network file systems cannot say so of folders, and Windows opens none."""
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP)):
            raise
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """SHA-256 of a file, read piece by piece."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def check_writable(path: str | Path) -> None:
    """Find out before hours of work whether a file can be written there.

    Raises:
        ConfigError: it cannot.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ConfigError(f"output {path}: cannot be written: {error.strerror}") from error
    if path.is_dir():
        raise ConfigError(f"output {path}: is a folder, expected a file")


def check_folder_name(path: str | Path, what: str, written: str) -> None:
    """See to it that a new folder is not called like a file; one that is there may have any name.

    Args:
        path: the folder to be.
        what: the argument, for the message.
        written: what will lie in it.

    Raises:
        ConfigError: it has the suffix of a file.
    """
    suffix = Path(path).suffix
    if suffix.lower() in OF_FILES and not Path(path).is_dir():
        raise ConfigError(f"{what} is {path}, but {written} is written into a folder, expected a path without {suffix}")


def check_file_name(path: str | Path, what: str, suffixes: Collection[str]) -> None:
    """See to it that a file is called by what is written into it; it may have no suffix.

    Args:
        path: the file to be.
        what: the argument, for the message.
        suffixes: those that are right, in lower case.

    Raises:
        ConfigError: it has another suffix.
    """
    if Path(path).suffix.lower() not in {*suffixes, ""}:
        *others, last = suffixes
        right = f"{', '.join(others)} or {last}" if others else last
        raise ConfigError(f"{what} is {path}, expected a name that ends in {right}, which is what is written")
