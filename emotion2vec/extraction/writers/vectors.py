"""Vectors of utterances as one table with named columns: `file`, `start`, `end`, then `f0`, `f1` and so on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from emotion2vec.corpora.utterance import Utterance
from emotion2vec.errors import ConfigError
from emotion2vec.extraction.encode.arrays import Arrays
from emotion2vec.extraction.writers.base import Output, need_package, utf8_name
from emotion2vec.extraction.writers.spreadsheets import EXTRAS, PACKAGES, Table, open_table
from emotion2vec.files import publish, tidy, unfinished

SHEET_COLUMNS = 16_384
"""Columns of a sheet of Excel."""


class VectorsWriter:
    """Writes a row for each utterance in the order of the sources; the table gets its name when it is closed.

    Args:
        output: where.
        suffix: `.csv` or `.xlsx`.

    Raises:
        ConfigError: there is more than a vector for each utterance, the job shall be resumed, or a package is missing.
    """

    separate, nested, at_once, stores_facts = False, False, False, False

    def __init__(self, output: Output, suffix: str):
        name = suffix[1:]
        spec = output.layout.get("utterance")
        if list(output.layout) != ["utterance"] or spec is None or len(spec.shape) != 1 or spec.shape[0] is None:
            raise ConfigError(f"format is {name!r}, expected granularity utterance and one layer: a vector is a row")
        if output.resume:
            raise ConfigError(f"format is {name!r}, whose jobs cannot be resumed")
        if suffix in PACKAGES:
            need_package(PACKAGES[suffix], EXTRAS[suffix])
        if suffix == ".xlsx" and spec.shape[0] + 3 > SHEET_COLUMNS:
            raise ConfigError(
                f"format is {name!r}, which holds {SHEET_COLUMNS} columns, and vectors have {spec.shape[0]}"
            )
        self._path = output.path(suffix)
        self._partial = unfinished(self._path)
        columns: dict[str, type] = {"file": str, "start": float, "end": float}
        columns |= {f"f{number}": float for number in range(spec.shape[0])}
        tidy(output.folder)
        self._open = partial(open_table, self._partial, suffix, columns, digits=".9g")
        self._table: Table | None = None

    def targets(self, item: Utterance) -> list[str]:
        """The item's id."""
        return [utf8_name(item)]

    def has(self, item: Utterance) -> bool:
        """Nothing is ever there already."""
        return False

    def remove(self, items: Sequence[Utterance]) -> None:
        """Nothing is ever there."""

    def write(self, item: Utterance, arrays: Arrays) -> None:
        """Add the item's row; its start and duration are those of its audio."""
        if self._table is None:
            self._table = self._open()
        start = item.start or 0.0
        end = None if item.duration is None else round(start + item.duration, 6)
        self._table.add([item.file, start, end, *arrays["utterance"].whole().tolist()])

    def close(self) -> None:
        """Finish the table and give it its name.

        Raises:
            ConfigError: the disk does not take it.
        """
        if self._table is None:
            return
        try:
            self._table.close()
            publish(self._partial, self._path)
        except OSError as error:
            raise ConfigError(f"output {self._path}: nothing more can be written: {error.strerror}") from error
        finally:
            self._partial.unlink(missing_ok=True)
