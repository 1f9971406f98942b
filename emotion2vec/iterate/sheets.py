"""Tables that spreadsheets and programs read: cells with tabs, quotes or line ends in them are quoted."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from emotion2vec.files import write_text


def write_tsv(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write rows with tabs between their cells, complete or not at all.

    Raises:
        OSError: the disk does not take them.
    """
    stream = io.StringIO()
    csv.writer(stream, delimiter="\t", lineterminator="\n").writerows(rows)
    write_text(path, stream.getvalue())
