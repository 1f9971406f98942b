"""Encoded audio from anywhere, opened as a stream of blocks of samples: nothing is held in memory but one block.

libsndfile decodes wav, flac, ogg, opus, mp3 and more; ffmpeg, where it is installed, decodes video and what else there
is; fsspec opens URLs and object storage. S: samples in a block. C: channels.
"""

from __future__ import annotations

import io
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike, fspath
from pathlib import Path
from typing import IO, Any, BinaryIO, Protocol

import numpy as np

from emotion2vec.errors import AudioError

Encoded = str | PathLike[str] | bytes | BinaryIO
"""A path, a URL, encoded bytes, or an open binary file."""

FFMPEG_SUFFIXES = frozenset(
    {".m4a", ".m4b", ".aac", ".wma", ".amr", ".ac3", ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".3gp", ".ts"}
)
"""File endings that libsndfile does not decode and ffmpeg does."""

UNKNOWN_FRAMES = 2**62
"""libsndfile states about 2^63 frames where a stream's length is unknown."""


class AudioStream(Protocol):
    """Opened audio: `rate` in Hz, `channels`, and `frames` in all where the header states them."""

    rate: int
    channels: int
    frames: int | None

    def read(self, count: int) -> np.ndarray:
        """The next samples (S, C) float32, at most `count`; none at the end."""

    def skip(self, count: int) -> None:
        """Go on `count` samples later."""


@contextmanager
def open_audio(source: Encoded, name: str) -> Iterator[AudioStream]:
    """Open encoded audio; errors while reading become AudioErrors too.

    Args:
        source: what to open; a file object is read from its start if it can be rewound.
        name: for messages.

    Raises:
        AudioError: it is missing, empty, of an unknown format or broken, or needs a package that is not installed.
    """
    import soundfile

    path = fspath(source) if isinstance(source, str | PathLike) else None
    try:
        if path is not None and Path(path).suffix.lower() in FFMPEG_SUFFIXES and "://" not in path:
            with _open_ffmpeg(path, name) as stream:
                yield stream
            return
        with _open_bytes(source, name) as handle, soundfile.SoundFile(handle) as file:
            yield _SoundFile(file)
    except OSError as error:
        raise AudioError(f"{name}: cannot be opened: {error.strerror or error}") from error
    except (soundfile.LibsndfileError, RuntimeError, TypeError, ValueError) as error:
        reason = getattr(error, "error_string", None) or str(error)
        raise AudioError(
            f"{name}: cannot be decoded: {reason} Expected wav, flac, ogg, opus, mp3 or another format of libsndfile."
        ) from error


@contextmanager
def _open_bytes(source: Encoded, name: str) -> Iterator[str | bytes | BinaryIO]:
    """What libsndfile can open: a path, or a file object at its start."""
    if isinstance(source, bytes):
        if not source:
            raise AudioError(f"{name}: empty, expected encoded audio")
        yield io.BytesIO(source)
    elif not isinstance(source, str | PathLike):
        if source.seekable():
            source.seek(0)
            yield source
        else:
            yield io.BytesIO(source.read())
    elif "://" in fspath(source):
        with _open_url(fspath(source), name) as stream:
            yield stream
    else:
        with open(source, "rb") as stream:
            if not stream.read(1):
                raise AudioError(f"{name}: the file is empty (0 bytes), expected audio")
        # Names that are no Unicode reach libsndfile as the bytes that they are.
        yield os.fsencode(source) if os.name == "posix" else fspath(source)


@contextmanager
def _open_url(url: str, name: str) -> Iterator[BinaryIO]:
    try:
        import fsspec

        opened = fsspec.open(url, "rb")
    except ImportError as error:  # fsspec itself, or the package of one protocol, which its message names
        raise AudioError(f"{name}: cannot be opened: {error}; pip install fsspec, and what it names") from error
    except ValueError as error:
        raise AudioError(f"{name}: cannot be opened: {error}") from error
    with opened as stream:
        yield stream


class _SoundFile:
    """A stream that libsndfile decodes; see `AudioStream`."""

    def __init__(self, file: Any):
        self._file = file
        self.rate: int = file.samplerate
        self.channels: int = file.channels
        self.frames: int | None = file.frames if file.frames < UNKNOWN_FRAMES else None

    def read(self, count: int) -> np.ndarray:
        block: np.ndarray = self._file.read(count, dtype="float32", always_2d=True)
        return block

    def skip(self, count: int) -> None:
        self._file.seek(count, os.SEEK_CUR)


def find_ffmpeg() -> str | None:
    """The ffmpeg program: the system's, else the one that the package imageio-ffmpeg carries."""
    found = shutil.which("ffmpeg")
    if found is not None:
        return found
    try:
        import imageio_ffmpeg
    except ImportError:
        return None
    return str(imageio_ffmpeg.get_ffmpeg_exe())


@contextmanager
def _open_ffmpeg(path: str, name: str) -> Iterator[AudioStream]:
    """Let ffmpeg decode the first audio track of a file to a wav stream of floats on a pipe."""
    with open(path, "rb") as stream:  # a missing or empty file has one message, whoever decodes
        if not stream.read(1):
            raise AudioError(f"{name}: the file is empty (0 bytes), expected audio")
    program = find_ffmpeg()
    if program is None:
        suffix = Path(path).suffix
        raise AudioError(f"{name}: {suffix} files need ffmpeg: install ffmpeg, or pip install imageio-ffmpeg")
    # Playlists must not reach for other files or the network: only this file and the pipe are opened.
    source = ["-nostdin", "-v", "error", "-protocol_whitelist", "file,pipe", "-i", f"file:{path}"]
    target = ["-vn", "-map", "0:a:0", "-c:a", "pcm_f32le", "-f", "wav", "pipe:1"]
    process = subprocess.Popen(
        [program, *source, *target], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stderr is not None
    try:
        rate, channels = _wav_header(process.stdout)
        if not rate:
            reason = process.stderr.read().decode(errors="replace").strip().rpartition("\n")[2]
            raise AudioError(f"{name}: cannot be decoded: ffmpeg says: {reason or 'nothing'}")
        yield _Pipe(process.stdout, rate, channels)
    finally:
        process.kill()
        process.stdout.close()
        process.stderr.close()
        process.wait()


def _wav_header(stream: IO[bytes]) -> tuple[int, int]:
    """Read a wav header up to its samples: rate in Hz and channels, or zeros when there is none."""
    rate = channels = 0
    if len(stream.read(12)) < 12:
        return 0, 0
    while len(head := stream.read(8)) == 8:
        kind, size = struct.unpack("<4sI", head)
        if kind == b"data":
            return rate, channels
        body = stream.read(size + size % 2)
        if kind == b"fmt ":
            channels, rate = struct.unpack_from("<HI", body, 2)
    return 0, 0


class _Pipe:
    """Floats from a pipe; see `AudioStream`."""

    frames: int | None = None

    def __init__(self, stream: IO[bytes], rate: int, channels: int):
        self.rate, self.channels, self._stream = rate, channels, stream

    def read(self, count: int) -> np.ndarray:
        raw = self._stream.read(4 * self.channels * count)
        whole = len(raw) // (4 * self.channels) * self.channels
        return np.frombuffer(raw, np.float32, count=whole).reshape(-1, self.channels)

    def skip(self, count: int) -> None:
        while count > 0:
            skipped = len(self.read(min(count, 1 << 16)))
            if not skipped:
                return
            count -= skipped
