"""Lists of Kaldi: `wav.scp`, a key and a path on each line."""

from __future__ import annotations

import re
from pathlib import Path

from emotion2vec.corpora.lists.lines import Lines
from emotion2vec.corpora.lists.rows import Parsed, Row, collect


def parse_scp(source: Path, lines: Lines) -> Parsed:
    """Read a `key path` list; an entry that is a command (`... |`) is a fault, as commands are never run."""

    def parse(number: int, line: str) -> Row:
        if line.rstrip().endswith("|"):
            raise ValueError(
                "the entry is a command to run ('... |'), and commands are never run; expected 'key path': write the "
                "audio to files first"
            )
        key, *path = re.split(r"[ \t]+", line.lstrip(" \t"), maxsplit=1)
        if not path or not path[0].strip():
            raise ValueError(f"found {line.strip()!r}, expected 'key path'")
        return Row(line=number, key=key, path=path[0])

    return collect(source, lines, parse)
