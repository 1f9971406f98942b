"""All that one job of `predict` writes: opened together, complete or absent under their names."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from emotion2vec.corpora.faults import Fault
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.errors import ConfigError
from emotion2vec.extraction.options import PredictOptions
from emotion2vec.extraction.results.annotations.export import Exported, export_faults, exporting
from emotion2vec.extraction.results.rows import Columns, RowMaker, Rows, TableRows
from emotion2vec.extraction.results.summary import Summary
from emotion2vec.extraction.results.timelines.job import Pictures, drawing
from emotion2vec.extraction.results.timelines.pictures import check_output
from emotion2vec.extraction.writers.spreadsheets import open_table, suffix_faults, text_table
from emotion2vec.files import check_folder_name, complete_file
from emotion2vec.locks import LOCK, only_writer

_SHOWN = 60
"""Letters of an output's name that its lock's shows, since file systems limit what names take."""


def output_faults(options: PredictOptions, output: Path | None) -> list[str]:
    """What is wrong with where results shall go."""
    faults = []
    if output is not None:
        faults += suffix_faults("output", output)
    if options.summary is not None:
        if is_ending(options.summary) and output is None:
            faults.append(f"summary is {options.summary}, which is beside the output: expected an output, or a file")
        else:
            faults += suffix_faults("summary", summary_path(options.summary, output))
    if options.excel and (output is None or output.suffix.lower() not in (".csv", ".tsv")):
        faults.append("excel is about .csv and .tsv, expected such an output; Excel opens .xlsx as it is")
    faults += export_faults(options.export)
    if options.plot is not None and find_spec("matplotlib") is None:
        faults.append("plot needs the package matplotlib: pip install 'emotion2vec[plots]'")
    return faults


def is_ending(path: Path) -> bool:
    """Whether a path is an ending alone, such as `.csv`."""
    return path.parent == Path() and path.name.startswith(".") and path.name.count(".") == 1


def summary_path(summary: Path, output: Path | None) -> Path:
    """Where a summary goes: the file that is named, or beside the output, which an ending alone stands for."""
    if output is None or not is_ending(summary):
        return summary
    return output.with_name(f"{output.stem}.summary{summary}")


@dataclass(frozen=True)
class Results:
    """What is open.

    Attributes:
        rows: take rows.
        faults: what could not be written of recordings; known at the end.
    """

    rows: list[Rows]
    faults: list[Fault] = field(default_factory=list)


@contextmanager
def open_results(
    options: PredictOptions, output: Path | None, maker: RowMaker, items: Sequence[Utterance]
) -> Iterator[Results]:
    """Open a table of results, its summary, annotations and pictures.

    Files have their names when all rows are there, or Ctrl-C ended the job, with those that were there by then.

    Args:
        options: which.
        output: of the table; None for JSON lines on stdout.
        maker: of the rows.
        items: all clips.

    Raises:
        ConfigError: something cannot be written, another process writes there, or values shall be annotations.
    """
    if options.plot is not None:
        check_output(options.plot, "plot")
    if options.export and "" in maker.values:
        raise ConfigError("export is for classes, and the model predicts values")
    with ExitStack() as stack:  # what was opened last is complete first: whatever fails then, the table is there
        opened: list[Rows] = []
        faults: list[Fault] = []
        if options.export:
            check_folder_name(options.export_folder, "export_folder", "a file for each recording")
            exported = Exported(options.export, options.export_folder, maker.labels[""], items, _result)
            opened.append(stack.enter_context(exporting(exported)))
            faults = exported.faults
        if options.plot is not None:
            opened.append(stack.enter_context(drawing(Pictures(options.plot, maker, faults))))
        if options.summary is not None:
            opened.append(stack.enter_context(_summary(summary_path(options.summary, output), maker)))
        opened.append(stack.enter_context(_table(output, Columns(maker, items), options.excel)))
        yield Results(opened, faults)


@contextmanager
def _table(output: Path | None, columns: Columns, excel: bool) -> Iterator[TableRows]:
    """The table of results."""
    if output is None:
        yield TableRows(text_table(sys.stdout, ".jsonl", list(columns.kinds)), columns)
        return
    with ExitStack() as stack:
        partial = stack.enter_context(_result(output))
        table = open_table(partial, output.suffix.lower(), columns.kinds, excel=excel)
        yield TableRows(stack.enter_context(closing(table)), columns)


@contextmanager
def _summary(path: Path, maker: RowMaker) -> Iterator[Summary]:
    """The summary, which is written at the end."""
    summary = Summary(maker.labels[""], values="" in maker.values)
    with _result(path) as partial:
        try:
            yield summary
        finally:
            with closing(open_table(partial, path.suffix.lower(), summary.columns)) as table:
                for cells in summary.rows():
                    table.add(cells)


@contextmanager
def _result(path: Path) -> Iterator[Path]:
    """Where to write a file that has its name when it is complete, or Ctrl-C ended it; a pipe or a device is itself.

    Raises:
        ConfigError: it cannot be written, or another process writes there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():
            yield path
            return
        with only_writer(path.with_name(f".{path.name[:_SHOWN]}{LOCK}"), path), complete_file(path) as partial:
            stopped: KeyboardInterrupt | None = None
            try:
                yield partial
            except KeyboardInterrupt as error:
                stopped = error
        if stopped is not None:
            raise stopped
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ConfigError(f"output {path}: cannot be written: {error.strerror}") from error
