"""Lists of Kaldi: `wav.scp`, a key and a path on each line."""

from __future__ import annotations

import re
from pathlib import Path

from emotion2vec.corpora.lists.lines import Lines
from emotion2vec.corpora.lists.rows import Parsed, Row, collect
from emotion2vec.errors import ManifestError


def parse_scp(source: Path, lines: Lines) -> Parsed:
    """Read a `key path` list.

    Raises:
        ManifestError: an entry is a command (`... |`); commands are never run.
    """
    pipes = [number for number, line in lines if line.rstrip().endswith("|")]
    if pipes:
        raise ManifestError(
            f"{source}:{pipes[0]}: the entry is a command to run ('... |'; {len(pipes)} of {len(lines)} entries are), "
            "and commands are never run; expected 'key path': write the audio to files first"
        )

    def parse(number: int, line: str) -> Row:
        key, *path = re.split(r"[ \t]+", line.lstrip(" \t"), maxsplit=1)
        if not path or not path[0].strip():
            raise ValueError(f"found {line.strip()!r}, expected 'key path'")
        return Row(line=number, key=key, path=path[0])

    return collect(source, lines, parse)
