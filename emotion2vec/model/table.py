"""Scores of clips as a pandas data frame, indexed as audformat indexes segments."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from os import PathLike
from typing import TYPE_CHECKING, Any

from emotion2vec.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

INDEX = ("file", "start", "end")
"""Levels of the index."""


def check_pandas() -> None:
    """Raise ConfigError if pandas is not installed."""
    if find_spec("pandas") is None:
        raise ConfigError("a data frame needs the package pandas: pip install 'emotion2vec[pandas]'")


def segmented_index(files: Sequence[str], starts: Sequence[float], ends: Sequence[float]) -> pd.MultiIndex:
    """Files as strings, and times in s as timedeltas of ns: what audformat calls a segmented index."""
    import pandas as pd

    times = [pd.to_timedelta(list(values), unit="s").as_unit("ns") for values in (starts, ends)]
    return pd.MultiIndex.from_arrays([pd.array(list(files), dtype="string"), *times], names=INDEX)


def clip_table(
    clips: Sequence[Any], seconds: Sequence[float], scores: Sequence[dict[str, float]], values: bool
) -> pd.DataFrame:
    """A row for each clip; those in memory are called `clip 0`, `clip 1` and so on.

    Columns are `label` and `confidence`, which values have not, and `score:NAME` for each score.
    """
    import pandas as pd

    files = [str(one) if isinstance(one, str | PathLike) else f"clip {place}" for place, one in enumerate(clips)]
    best = [None if values else max(row, key=row.__getitem__) for row in scores]
    named = [name if name is None else row[name] for name, row in zip(best, scores, strict=True)]
    columns: dict[str, Any] = {"label": pd.array(best, dtype="string"), "confidence": pd.array(named, dtype="float64")}
    columns |= {f"score:{name}": [row[name] for row in scores] for name in (scores[0] if scores else ())}
    return pd.DataFrame(columns, index=segmented_index(files, [0.0] * len(files), seconds))
