"""What Python programs hold -> a list of stretches of audio: arrays, bytes, data frames, audformat's and `datasets`'.

None of those libraries is imported: what they give is known by what it has.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from emotion2vec.audio.decode.memory import as_batch
from emotion2vec.audio.samples import describe_source
from emotion2vec.corpora.faults import Fault, reason_of
from emotion2vec.corpora.lists.columns import Names
from emotion2vec.corpora.lists.naming import unique_ids
from emotion2vec.corpora.lists.rows import Row, channel_of, facts_of, find_audio, span_of
from emotion2vec.corpora.lists.spans import check_whole
from emotion2vec.corpora.utterance import Held, Listing, Utterance
from emotion2vec.errors import ConfigError, ManifestError


def listed(source: Any, sample_rate: int | None, root: Path | None, names: Names) -> Any:
    """What `read_sources` takes of a source: paths and lists as they are, all else as a list that was read.

    Args:
        source: files, or what holds audio in a program.
        sample_rate: of samples in memory, in Hz.
        root: folder that relative paths start from.
        names: what tables call columns and labels.

    Raises:
        ConfigError: it is nothing that holds audio.
    """
    paths = str | os.PathLike | Listing
    if isinstance(source, paths):
        return source
    if isinstance(source, list | tuple) and source and all(isinstance(one, paths) for one in source):
        return source
    if hasattr(source, "features") and hasattr(source, "column_names"):
        return _data_set(source, names)
    if hasattr(source, "segments") and hasattr(source, "tables"):
        return _frame(_files(source), root or source.root, names)
    if hasattr(source, "df") and hasattr(source, "db"):
        return _frame(source.df, root or getattr(source.db, "root", None), names)
    if hasattr(source, "index") and hasattr(source, "columns"):
        return _frame(source, root, names)
    if hasattr(source, "names") and hasattr(source, "to_frame"):
        return _frame(source.to_frame(index=True)[[]], root, names)
    return _in_memory(source, sample_rate)


def _in_memory(source: Any, sample_rate: int | None) -> Listing:
    """Clips in memory, called `clip 0`, `clip 1` and so on."""
    batch = as_batch(source)
    clips = [source] if batch is None else batch
    items = []
    for number, clip in enumerate(clips):
        is_samples = hasattr(clip, "shape")
        audio = {"array": clip, "sampling_rate": sample_rate} if is_samples else clip
        if is_samples and sample_rate is None:
            raise ConfigError(f"{describe_source(clip)}: samples in memory need their sample_rate in Hz")
        if not (is_samples or isinstance(clip, bytes | str | os.PathLike | Mapping) or hasattr(clip, "read")):
            raise ConfigError(
                f"source {number} is a {type(clip).__name__}, expected a path, samples, bytes, a data frame with a "
                "column 'file', an audformat table, or a data set"
            )
        name = f"clip {number}"
        if isinstance(clip, str | os.PathLike):
            items.append(Utterance(id=name, audio=Path(clip)))
        else:
            items.append(Utterance(id=name, audio=Held(name, partial(_as_it_is, audio))))
    return Listing(items, [])


def _as_it_is(audio: Any) -> Any:
    return audio


def _files(database: Any) -> Any:
    """All files of an audformat database as a table without columns, or its segments where it has those alone."""
    index = database.files if len(database.files) else database.segments
    return index.to_frame(index=True)[[]]


def _frame(frame: Any, root: str | Path | None, names: Names) -> Listing:
    """A data frame: audformat's index, or a column `file`; times are timedeltas or s."""
    table = frame.reset_index() if "file" in frame.index.names else frame
    if names.columns.get("file", "file") not in {str(name).lower() for name in table.columns}:
        raise ManifestError(
            f"the data frame has the columns {', '.join(map(str, table.columns))} and the index "
            f"{', '.join(map(str, frame.index.names))}, expected 'file' among them"
        )
    records = [{str(name): _plain(cell) for name, cell in record.items()} for record in table.to_dict("records")]
    return _rows("data frame", records, Path(root or "."), names)


def _plain(cell: Any) -> Any:
    """A cell as text or a number; times in s, and None for what is not there."""
    if hasattr(cell, "total_seconds"):
        cell = cell.total_seconds()
    elif hasattr(cell, "item"):
        cell = cell.item()
    return None if cell is None or cell != cell or str(cell) in ("NaT", "<NA>") else cell


def _rows(name: str, records: Sequence[Mapping[str, Any]], base: Path, names: Names) -> Listing:
    """Records that name files below a folder."""
    rows, faults = [], []
    for number, record in enumerate(records):
        low, rest = names.record(record), names.rest(list(record))
        try:
            check_whole([name.lower() for name in record], names.columns)
            start, duration = span_of(low)
            facts = {**facts_of(low), "row": {} if rest is None else rest(record)}
            channel = channel_of(low)
            rows.append(
                Row(line=number, path=low["file"], start=start, duration=duration, channel=channel, facts=facts)
            )
        except ValueError as error:
            faults.append(Fault(f"{name}, row {number}", reason_of(error)))
    found = find_audio(rows, base)
    missing = [Fault(f"{name}, row {row.line}", reason) for row, reason in found.missing]
    items, repeated = unique_ids([(f"{name}, row {row.line}", item) for row, item in found.utterances], keyed=set())
    return Listing(items, [*faults, *missing, *repeated])


def _data_set(data: Any, names: Names) -> Listing:
    """A data set of Hugging Face's: each row's audio is decoded here when its turn comes."""
    if not hasattr(data, "__len__"):
        raise ConfigError("the data set is streamed, expected one that is on disk")
    features = data.features
    audio = next((name for name, kind in features.items() if type(kind).__name__ == "Audio"), None)
    if audio is None:
        audio = next((name for name in ("audio", "file", "path") if name in features), None)
    if audio is None:
        raise ManifestError(f"the data set has the columns {', '.join(features)}, expected one with audio")
    if type(features[audio]).__name__ == "Audio":
        data = data.cast_column(audio, type(features[audio])(decode=False))
    others = data.remove_columns(audio)
    classes = {name: getattr(kind, "int2str", None) for name, kind in others.features.items()}
    rest = names.rest(list(classes)) or dict
    paths = _paths(data, audio)
    items = []
    for number, path in enumerate(paths):
        record = {name: value for name, value in (others[number] if classes else {}).items() if _is_cell(value)}
        named = {name: _said(value, classes[name]) for name, value in record.items() if value is not None}
        facts: dict[str, Any] = {**facts_of(names.record(named))}
        held = Held(path or f"clip {number}", partial(_cell_of, data, number, audio))
        items.append(Utterance(id=f"{number}", audio=held, file=str(held), row=rest(named), **facts))
    return Listing(items, [])


def _paths(data: Any, audio: str) -> Iterable[str | None]:
    """Names of the files that rows come from, without reading their bytes into memory at once."""
    for row in data.select_columns([audio]):
        value = row[audio]
        yield value.get("path") if isinstance(value, Mapping) else value if isinstance(value, str) else None


def _cell_of(data: Any, number: int, audio: str) -> Any:
    return data[number][audio]


def _is_cell(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


def _said(value: Any, name_of: Callable[[int], str] | None) -> Any:
    """A class by its name."""
    return name_of(value) if name_of is not None and isinstance(value, int) and value >= 0 else value
