"""Encoded audio from anywhere, opened as a stream of blocks of samples: nothing is held in memory but one block.

libsndfile decodes wav, flac, ogg, opus, mp3 and more; ffmpeg, where it is installed, decodes video and what else there
is; fsspec opens URLs and object storage. Which of them decodes a file is a matter of its bytes, not of its name.

S: samples in a block. C: channels.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike, fspath
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np

from emotion2vec.audio.decode import ffmpeg
from emotion2vec.audio.decode.content import FLAC, MPEG_AUDIO, OGG, Kind, kind_of_file
from emotion2vec.audio.decode.notes import Note
from emotion2vec.audio.decode.remote import copy_in_time, is_url, open_url
from emotion2vec.audio.decode.sndfile import Openable, SndfileStream
from emotion2vec.audio.decode.structure import examine
from emotion2vec.audio.decode.suffixes import AUDIO_SUFFIXES, FFMPEG_SUFFIXES, LIST_SUFFIXES
from emotion2vec.errors import AudioError

Encoded = str | PathLike[str] | bytes | BinaryIO
"""A path, a URL, encoded bytes, or an open binary file."""


class AudioStream(Protocol):
    """Opened audio: `rate` in Hz, `channels`, and samples per channel in `frames` where they are known beforehand."""

    rate: int
    channels: int
    frames: int | None

    def read(self, count: int) -> np.ndarray:
        """The next samples (S, C) float32, at most `count`; none at the end."""

    def skip(self, count: int) -> int:
        """Go on `count` samples later; how many of them there were, as far as is known."""

    def beforehand(self) -> list[Note]:
        """What is to be said before anything is decoded."""

    def finish(self, whole: bool) -> list[Note]:
        """What is to be said of what was read, damage included; `whole` if it was read from its start to its end."""


@contextmanager
def open_audio(
    source: Encoded, name: str, *, accept_damaged: bool = False, thorough: bool = True
) -> Iterator[AudioStream]:
    """Open encoded audio; errors while reading become AudioErrors too.

    Args:
        source: what to open; a file object is read from its start if it can be rewound.
        name: for messages.
        accept_damaged: get as much out of a damaged file as there is; that it is damaged, `finish` says.
        thorough: look at all of the file's structure first; else gaps in Ogg go unnoticed.

    Raises:
        AudioError: it is missing, empty, no audio or broken, or needs a program or package that is not installed.
    """
    import soundfile

    try:
        with _open_bytes(source, name) as handle:
            kind = kind_of_file(handle)
            path = _local_path(source)
            if kind is not None and kind.decoder is None:
                raise AudioError(f"{name}: cannot be decoded: it is {kind.name}, expected audio or video")
            if kind is not None and kind.decoder == "ffmpeg":
                with _by_ffmpeg(handle, path, name, kind, None) as stream:
                    yield stream
                return
            try:
                structure = examine(handle, kind, thorough=thorough)
                opened = SndfileStream(_openable(handle, path), structure, accept_damaged)
            except soundfile.LibsndfileError as error:
                with _by_ffmpeg(handle, path, name, kind, error) as stream:
                    yield stream
                return
            with contextlib.closing(opened):
                yield opened
    except OSError as error:
        raise AudioError(f"{name}: cannot be opened: {error.strerror or error}") from error
    except (soundfile.LibsndfileError, RuntimeError, TypeError, ValueError) as error:
        reason = getattr(error, "error_string", None) or str(error)
        raise AudioError(f"{name}: cannot be decoded: {reason}") from error
    except Exception as error:
        if isinstance(error, AudioError) or not is_url(source):
            raise
        raise AudioError(f"{name}: cannot be read: {type(error).__name__}: {error}") from error  # the storage's own


def describe_content(path: str | PathLike[str]) -> Kind | None:
    """What the bytes of a file are; None when that cannot be told, or it cannot be read."""
    try:
        with open(path, "rb") as stream:
            return kind_of_file(stream)
    except OSError:
        return None


def is_audio_file(path: Path) -> bool:
    """Whether a single file that was named is audio: by its ending, or else by its bytes."""
    suffix = path.suffix.lower()
    if suffix in AUDIO_SUFFIXES | LIST_SUFFIXES:
        return suffix in AUDIO_SUFFIXES
    kind = describe_content(path)
    return kind is not None and kind.decoder is not None


def _local_path(source: Encoded) -> str | None:
    """The path of a file of this machine; None for bytes, file objects and URLs."""
    path = fspath(source) if isinstance(source, str | PathLike) else None
    return None if path is None or "://" in path else path


def _openable(handle: BinaryIO, path: str | None) -> Openable:
    """What libsndfile shall open: the open file itself, which may have lost its name since, where it can take that."""
    handle.seek(0)
    if path is None or os.name != "posix":
        return handle if path is None else path
    os.lseek(handle.fileno(), 0, os.SEEK_SET)
    return handle.fileno()


@contextmanager
def _open_bytes(source: Encoded, name: str) -> Iterator[BinaryIO]:
    """Any source as a file object that can be moved in.

    Raises:
        AudioError: it is empty, or a URL that cannot be opened.
    """
    with contextlib.ExitStack() as stack:
        stream: BinaryIO
        if isinstance(source, bytes):
            stream = io.BytesIO(source)
        elif not isinstance(source, str | PathLike):
            stream = source
        elif "://" in fspath(source):
            stream = stack.enter_context(open_url(fspath(source), name))
            if stream.seekable() and kind_of_file(stream) in (MPEG_AUDIO, OGG, FLAC):
                copy = stack.enter_context(tempfile.TemporaryFile())  # all of it is read, and more than once
                stream.seek(0)
                copy_in_time(stream, copy)
                stream = copy
        else:
            stream = stack.enter_context(open(source, "rb"))
        if not stream.seekable():
            stream = io.BytesIO(stream.read())
        if not stream.seek(0, os.SEEK_END):
            raise AudioError(f"{name}: the file is empty (0 bytes), expected audio")
        yield stream


@contextmanager
def _by_ffmpeg(
    handle: BinaryIO, path: str | None, name: str, kind: Kind | None, refusal: Exception | None
) -> Iterator[AudioStream]:
    """Decode with ffmpeg, which wants a file: what has no path is written to one for as long as it is read.

    Raises:
        AudioError: ffmpeg is missing, or cannot decode it either.
    """
    program = ffmpeg.find_ffmpeg()
    suffix = Path(name).suffix.lower()
    what = f"it is {kind.name}" if kind else "it is of no known kind"
    reason = "" if refusal is None else f", libsndfile says: {getattr(refusal, 'error_string', refusal)}"
    if program is None:
        if kind is None and suffix not in FFMPEG_SUFFIXES:
            raise AudioError(f"{name}: cannot be decoded: {what}{reason}. Expected audio or video") from refusal
        raise AudioError(f"{name}: {what}, which needs ffmpeg: {ffmpeg.INSTALL}{reason}") from refusal
    with contextlib.ExitStack() as stack:
        if path is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="emotion2vec-"))
            path = os.path.join(folder, "audio")
            with open(path, "wb") as copy:
                handle.seek(0)
                shutil.copyfileobj(handle, copy)
        try:
            stream = stack.enter_context(ffmpeg.open_ffmpeg(program, path, name))
        except AudioError as error:
            os.stat(path)  # that it is gone says more
            raise AudioError(f"{error}; {what}{reason}") from refusal
        yield stream
