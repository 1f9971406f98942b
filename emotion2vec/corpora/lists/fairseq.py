"""Manifests of fairseq: the root on the first line, then `path<TAB>samples`."""

from __future__ import annotations

import re
from pathlib import Path

from emotion2vec.corpora.lists.lines import Lines
from emotion2vec.corpora.lists.rows import Parsed, Row, collect

ENTRY = re.compile(r"[^\t]*\t[ ]*[0-9]+\s*")
"""A path and its samples."""

SEARCHED_LINES = 1000
"""Lines behind the first that are searched for an entry: some may be broken."""


def is_fairseq(lines: Lines) -> bool:
    """Tell a fairseq manifest from a table, whose header has several columns or is `file`."""
    header = lines[0][1]
    if "\t" in header or "file" in re.split("[,;]", header.strip().lower()):
        return False
    return any(ENTRY.fullmatch(line) for _, line in lines[1 : 1 + SEARCHED_LINES])


def parse_fairseq(source: Path, lines: Lines) -> Parsed:
    """Read the entries; the counts of samples are not needed and not trusted."""
    return collect(source, lines[1:], lambda number, line: Row(line=number, path=line.split("\t")[0]))
