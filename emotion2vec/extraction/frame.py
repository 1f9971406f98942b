"""Labels and scores as a pandas data frame, of audio from anywhere: `emotion2vec.predict`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion2vec.assets import DEFAULT_MODEL
from emotion2vec.corpora.lists.columns import Names
from emotion2vec.corpora.utterance import Listing, Utterance
from emotion2vec.extraction.options import PredictOptions, check_options
from emotion2vec.extraction.predict import faults_of, score
from emotion2vec.extraction.results.outputs import Results
from emotion2vec.extraction.results.rows import Columns, Row, RowMaker
from emotion2vec.extraction.sources.named import read_sources
from emotion2vec.extraction.sources.objects import listed
from emotion2vec.model.table import INDEX, check_pandas, segmented_index
from emotion2vec.progress import ProgressCallback
from emotion2vec.settings import from_keywords

if TYPE_CHECKING:
    import pandas as pd

    from emotion2vec.model.speech import SpeechEncoder

FILES_ONLY = ("summary", "excel", "export", "plot")
"""Options of what is written, which a data frame has no use for."""


def predict(
    source: Any,
    sample_rate: int | None = None,
    *,
    model: str | Path | SpeechEncoder | Sequence[str | Path | SpeechEncoder] = DEFAULT_MODEL,
    progress: bool = False,
    on_progress: ProgressCallback | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Score everything that a source holds, a row for each clip, turn or window.

    Args:
        source: what `read_sources` takes, such as files, folders and tables; an audformat database, table or index; a
            data frame with a column `file`; a data set of Hugging Face's `datasets`; samples (S,) or (C, S), encoded
            bytes, or a list of them.
        sample_rate: of samples in memory, in Hz.
        model: a model with a head, or several, see `emotion2vec.extraction.predict.predict`.
        progress: show a progress bar if stderr is a terminal.
        on_progress: called with a `Progress` after each clip; what it raises ends the call and is raised here.
        options: see `PredictOptions`: `window`, `adapt`, `abstain`, `classes`, `text_encoder`, `root`, `channel`,
            `segments`, `columns`, `labels`, `accept_damaged`, `precision`, `backend`, `device`.

    Returns:
        A data frame with the index of audformat's segmented tables (`file`, and `start` and `end` as timedeltas) and
        the columns of `predict`'s tables. `attrs["failed"]` lists what could not be scored, with reasons.

    Raises:
        ConfigError: an argument is wrong, the model has no head, or pandas is missing.
        ManifestError: the source cannot be read.
        CheckpointError: the model cannot be loaded.
    """
    check_pandas()
    chosen: PredictOptions = from_keywords(PredictOptions, options)
    unused = [f"{name} is about files, expected the verb predict for it" for name in FILES_ONLY if options.get(name)]
    check_options(faults_of(chosen) + unused)
    sources = chosen.sources
    names = Names.of(sources.columns, sources.labels, keep=True)
    read = listed(source, sample_rate, sources.root, names)
    if isinstance(read, Listing):
        names.warn()
    found = read_sources(read, **vars(sources))
    rows: list[Row] = []
    columns: list[Columns] = []

    @contextmanager
    def opened(maker: RowMaker, items: Sequence[Utterance]) -> Iterator[Results]:
        columns.append(Columns(maker, items))
        yield Results([_Kept(rows)])

    report = score(found, model, chosen, opened, progress=progress, on_progress=on_progress)
    frame = frame_of(rows, columns[0])
    frame.attrs["failed"] = [str(fault) for fault in report.failed]
    return frame


class _Kept:
    """Keeps rows."""

    def __init__(self, rows: list[Row]):
        self._rows = rows

    def add(self, item: Utterance, rows: Sequence[Row]) -> None:
        """See `Rows`."""
        self._rows += rows


def frame_of(rows: Sequence[Row], columns: Columns) -> pd.DataFrame:
    """Rows as a data frame, indexed as audformat does it."""
    import pandas as pd

    types = {float: "float64", int: "Int64", str: "string"}
    cells = list(zip(*map(columns.cells, rows), strict=True)) or [()] * len(columns.kinds)
    found: dict[str, Any] = {}
    for (name, kind), values in zip(columns.kinds.items(), cells, strict=True):
        is_known = kind is not str or all(value is None or isinstance(value, str) for value in values)
        found[name] = pd.array(list(values), dtype=types[kind]) if is_known else pd.array(list(values))
    return pd.DataFrame(found, index=segmented_index(*(found.pop(name) for name in INDEX)))
