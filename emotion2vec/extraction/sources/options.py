"""How sources are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emotion2vec.corpora.lists.columns import COLUMNS_HELP, LABELS_HELP
from emotion2vec.settings import option


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """How sources are read; see `read_sources`."""

    root: Path | None = option(None, "Where relative paths of a list start.")
    channel: int | None = option(None, "Channel from 0, in place of the mean of all.")
    segments: str | Path | Any | None = option(
        None,
        "Cut recordings: RTTM, Kaldi segments, TextGrid or .eaf, a folder of those; vad, by speech; or a "
        "command that writes RTTM, such as 'diarize {}'.",
    )
    speakers: str | None = option(None, "channel: each channel of a recording is a speaker of its own.")
    accept_damaged: bool = option(False, "Take what there is of damaged files, and warn of each.")
    columns: tuple[str, ...] = option((), COLUMNS_HELP)
    labels: tuple[str, ...] = option((), LABELS_HELP)
