"""What `demo` is told: which models, where it listens, and whether it opens a browser."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from emotion2vec.assets import DEFAULT_MODEL
from emotion2vec.serve.options import TOKEN, Limits, ServeOptions
from emotion2vec.settings import option

LIMITS = Limits(
    max_mb=2000.0, max_seconds=7200.0, answer_mb=1024.0, max_files=1000, timeout=1800.0, decode_seconds=300.0,
    decode_mb=6144.0, queue_mb=4096.0,
)  # fmt: skip
"""What one person's own files may take of one's own machine: hours of audio, and videos."""


@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """All options of `demo`."""

    model: tuple[str, ...] = option((DEFAULT_MODEL,), "What can be tried; may be repeated, the first is the default.")
    host: str = option("127.0.0.1", "Address to listen on; 0.0.0.0 for all of this machine.")
    port: int = option(7860, "Port to listen on; if it is in use, the next free one is taken. 0 for any free one.")
    device: tuple[str, ...] = option((), "Devices, a process for each: cuda:0, cuda:1, ...; by default one.")
    precision: str = option("fp32", "fp32, bf16, fp16 or (on a CPU) int8; auto: the fastest here, without int8.")
    token_file: Path | None = option(None, f"File with a token that browsers ask for; or {TOKEN} is set to it.")
    browser: bool = option(True, "Open the page in the browser.")

    def served(self) -> ServeOptions:
        """The same as options of a server that offers the page."""
        return ServeOptions(
            model=self.model,
            host=self.host,
            port=self.port,
            device=self.device,
            precision=self.precision,
            token_file=self.token_file,
            page=True,
            limits=LIMITS,
        )
