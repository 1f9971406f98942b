"""What `demo` is told: which models, where it listens, and whether it opens a browser."""

from __future__ import annotations

from dataclasses import dataclass, fields

from emotion2vec.serve.options import Limits, Offered, ServeOptions
from emotion2vec.settings import option

LIMITS = Limits(
    max_mb=2000.0, max_seconds=7200.0, answer_mb=1024.0, max_files=1000, timeout=1800.0, decode_seconds=300.0,
    decode_mb=6144.0, queue_mb=4096.0,
)  # fmt: skip
"""What one person's own files may take of one's own machine: hours of audio, and videos."""


@dataclass(frozen=True, kw_only=True)
class DemoOptions(Offered):
    """All options of `demo`."""

    port: int = option(7860, "Port to listen on; if it is in use, the next free one is taken. 0 for any free one.")
    browser: bool = option(True, "Open the page in the browser.")

    def served(self) -> ServeOptions:
        """The same as options of a server that offers the page."""
        offered = {item.name: getattr(self, item.name) for item in fields(Offered)}
        return ServeOptions(**offered, port=self.port, page=True, limits=LIMITS)
