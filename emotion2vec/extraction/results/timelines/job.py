"""Pictures of what a job of `predict` hears."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from emotion2vec.corpora.faults import Fault, reason_of
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.errors import ConfigError
from emotion2vec.extraction.results.rows import Row, RowMaker
from emotion2vec.extraction.results.timelines.pictures import Timelines, picture
from emotion2vec.extraction.results.timelines.tracks import Collected, Said
from emotion2vec.files import write_bytes
from emotion2vec.stopping import Interrupts


class Pictures:
    """Collects rows, and draws recordings when all are there.

    Args:
        output: a folder, or a file, see `Timelines.save`.
        maker: of the rows.
        faults: gets those of pictures that cannot be drawn or written.
    """

    def __init__(self, output: Path, maker: RowMaker, faults: list[Fault]):
        labels = () if "" in maker.values else maker.labels[""]
        self._heads = list(maker.values)
        self._collected = Collected(labels, {head: maker.labels[head] for head in self._heads})
        self._output, self._faults = output, faults

    def add(self, item: Utterance, rows: Sequence[Row]) -> None:
        """See `Rows`."""
        for row in rows:
            values = [
                value for head in self._heads for value in (row.further[head][1] if head else row.scores).values()
            ]
            place = (item.file, row.start, row.end, item.speaker, item.channel)
            self._collected.place(Said(*place, row.label, row.confidence, values))

    def write(self) -> None:
        """Draw what was collected; an interrupt waits for it."""
        with Interrupts():
            timelines = Timelines(self._collected.timelines())
            for path, shown in timelines.files(self._output) if len(timelines) else ():
                try:
                    write_bytes(path, picture(shown, path))
                except Exception as error:  # whatever it is, it must not cost the table
                    reason = str(error) if isinstance(error, ConfigError) else reason_of(error)
                    self._faults.append(Fault(str(path), f"cannot be drawn: {reason}"))


@contextmanager
def drawing(pictures: Pictures) -> Iterator[Pictures]:
    """Draw pictures at the end, also of what was there when Ctrl-C came."""
    try:
        yield pictures
    except KeyboardInterrupt:
        pictures.write()
        raise
    pictures.write()
