"""Manifests of fairseq: the root on the first line, then `path<TAB>samples`."""

from __future__ import annotations

from pathlib import Path

from emotion2vec.corpora.lists.lines import Lines
from emotion2vec.corpora.lists.rows import Parsed, Row, collect


def is_fairseq(lines: Lines) -> bool:
    """Tell a fairseq manifest from a table that has a header."""
    if len(lines) < 2 or "\t" in lines[0][1]:
        return False
    fields = lines[1][1].split("\t")
    return len(fields) == 2 and fields[1].strip().isdigit()


def parse_fairseq(source: Path, lines: Lines) -> Parsed:
    """Read the entries; the counts of samples are not needed and not trusted."""
    return collect(source, lines[1:], lambda number, line: Row(line=number, path=line.split("\t")[0]))
