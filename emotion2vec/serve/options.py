"""What a server is told: where it listens, what it serves, and how much of it at once."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from emotion2vec.assets import DEFAULT_MODEL
from emotion2vec.errors import ConfigError
from emotion2vec.settings import option

TOKEN = "EMOTION2VEC_TOKEN"
"""Environment variable of the token, where no file is named."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")
"""Addresses that only this machine reaches."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much of a server a request, and all of them together, may take."""

    max_mb: float = option(64.0, "Largest body of a request, in MB.")
    max_seconds: float = option(3600.0, "Longest audio of a request, in s.")
    answer_mb: float = option(256.0, "Largest answer with features, in MB.")
    max_files: int = option(100, "Most files of a request.")
    timeout: float = option(120.0, "Longest time that a request may take, in s.")
    decode_seconds: float = option(30.0, "Longest time that one file may take to be decoded, in s.")
    decode_mb: float = option(2048.0, "Memory that decoding one file may take, in MB (not on Windows and macOS).")
    queue_mb: float = option(1024.0, "Bodies and audio of all requests together; what comes beyond gets 429.")
    queue: int = option(1000, "Most requests at once; what comes beyond gets 429.")
    streams: int = option(16, "Most live streams at once; what comes beyond is refused.")

    def faults(self) -> list[str]:
        """What is wrong."""
        return [
            f"{name} is {value!r}, expected more than 0"
            for name, value in vars(self).items()
            if not 0 < value < float("inf")
        ]


@dataclass(frozen=True, kw_only=True)
class Offered:
    """What is offered, where, and to whom."""

    model: tuple[str, ...] = option((DEFAULT_MODEL,), "What is offered; may be repeated, the first is the default.")
    host: str = option("127.0.0.1", "Address to listen on; 0.0.0.0 for all of this machine.")
    device: tuple[str, ...] = option((), "Devices, a process for each: cuda:0, cuda:1, ...; by default one.")
    precision: str = option("fp32", "fp32, bf16, fp16 or (on a CPU) int8; auto: the fastest here, without int8.")
    token_file: Path | None = option(None, f"File with the token that requests must bear; or {TOKEN} is set to it.")
    name: tuple[str, ...] = option((), "Further name under which it is asked, as a proxy's; may be repeated.")


@dataclass(frozen=True, kw_only=True)
class ServeOptions(Offered):
    """All options of `serve`."""

    port: int = option(8000, "Port to listen on; 0 for any free one.")
    decoders: int = option(2, "Processes that decode.")
    page: bool = option(False, "Offer the page on which people try models, at /; see `emotion2vec demo`.")
    limits: Limits = field(default_factory=Limits)

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        return self.host in LOOPBACK

    def faults(self) -> list[str]:
        """What is wrong."""
        faults = self.limits.faults()
        if not self.model:
            faults.append("model is empty, expected at least one")
        if not 0 <= self.port <= 65535:
            faults.append(f"port is {self.port}, expected 0 to 65535")
        if self.decoders < 1:
            faults.append(f"decoders is {self.decoders}, expected at least 1")
        return faults

    def token(self) -> str:
        """What requests must bear; empty for nothing.

        Raises:
            ConfigError: the file cannot be read, or is empty.
        """
        if self.token_file is None:
            return os.environ.get(TOKEN, "")
        try:
            token = self.token_file.read_text(encoding="utf-8-sig").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise ConfigError(f"token_file {self.token_file}: cannot be read: {reason}") from error
        if not token:
            raise ConfigError(f"token_file {self.token_file}: it is empty, expected a token")
        return token
