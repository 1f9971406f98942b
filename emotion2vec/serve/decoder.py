"""Decoding what strangers send, in a process of its own with bounded memory: the server kills it when it takes long."""

from __future__ import annotations

import io
import os
import sys
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from emotion2vec.audio.decode import Note, open_audio
from emotion2vec.audio.decode.content import kind_of_file
from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.audio.samples import audio_blocks, check_waveform
from emotion2vec.errors import AudioError
from emotion2vec.serve.child import leave_signals, messages
from emotion2vec.serve.errors import TOO_LARGE, UNPROCESSABLE
from emotion2vec.serve.messages import bytes_of, send


class _TooLongError(AudioError):
    """There is more audio than a request may have."""


class _Named(io.BytesIO):
    """Bytes with the name of the file that they came from."""

    def __init__(self, data: bytes, name: str):
        super().__init__(data)
        self.name = name


def main(connection: Connection, megabytes: float) -> None:
    """Decode what comes; the work of the process.

    Args:
        connection: gives `body` as bytes, with `name`, `max_seconds`, `channel` and `accept_damaged`, and `describe`
            where it shall be said what the file is; takes `samples` (S,) float32 at 16 kHz with what is to be said of
            them in `notes` and of the file in `origin`, or `error` and `status`.
        megabytes: memory that the process may take beyond what it has at its start.
    """
    leave_signals()
    _bound_memory(megabytes)
    # What is to be said of audio goes into the answer; what is printed of it would let strangers fill the log.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    send(connection, {})
    for facts, arrays in messages(connection):
        found: dict[str, Any] = {"id": facts["id"]}
        samples: dict[str, np.ndarray] = {}
        try:
            notes: list[Note] = []
            body = bytes_of(arrays["body"]) if arrays["body"].size else b""
            samples["samples"] = _decoded(body, facts, notes)
            found["notes"] = [note.text for note in notes]
            if facts.get("describe"):
                found["origin"] = _origin(body, facts["name"])
        except _TooLongError as error:
            found |= {"error": str(error), "status": TOO_LARGE}
        except AudioError as error:
            found |= {"error": str(error), "status": UNPROCESSABLE}
        except MemoryError:
            reason = f"decoding it takes more than {megabytes:g} MB of memory"
            found |= {"error": f"{facts['name']}: {reason}", "status": UNPROCESSABLE}
        except Exception as error:  # whatever one file does to a decoder must not end a server
            reason = f"cannot be decoded: {type(error).__name__}: {error}"
            found |= {"error": f"{facts['name']}: {reason}", "status": UNPROCESSABLE}
        send(connection, found, samples)


def _decoded(body: bytes, facts: dict[str, Any], notes: list[Note]) -> np.ndarray:
    """Samples (S,) of a file; raises AudioError."""
    name, most = facts["name"], facts["max_seconds"]
    held, count = [], 0
    stream = audio_blocks(
        _Named(body, name), channel=facts["channel"], accept_damaged=facts["accept_damaged"], notes=notes
    )
    for block in stream:
        count += block.size
        if count > most * SAMPLE_RATE:
            raise _TooLongError(f"{name}: it is longer than {most:g} s, expected at most that")
        held.append(block)
    return check_waveform(np.concatenate(held or [np.zeros(0, np.float32)]), name)


def _origin(body: bytes, name: str) -> dict[str, Any]:
    """What a file is that could be decoded: its kind, sample rate in Hz and channels."""
    kind = kind_of_file(io.BytesIO(body))
    with open_audio(_Named(body, name), name, accept_damaged=True, thorough=False) as stream:
        return {"kind": None if kind is None else kind.name, "rate": stream.rate, "channels": stream.channels}


def _bound_memory(megabytes: float) -> None:
    """Let the process, and what it starts, take so much more memory than it has; where the system can do that."""
    if not sys.platform.startswith("linux"):
        return
    import resource

    import soundfile  # noqa: F401  what decoding needs is counted before, not against a file
    import soxr  # noqa: F401

    with open("/proc/self/statm", encoding="ascii") as stream:
        pages = int(stream.read().split()[0])
    most = pages * resource.getpagesize() + int(megabytes * 1e6)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
