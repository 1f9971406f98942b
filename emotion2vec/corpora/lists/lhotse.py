"""Cuts of Lhotse, one a line."""

from __future__ import annotations

import math
from typing import Any

from emotion2vec.corpora.lists.rows import LABEL_FIELDS, Row, text_of

CUT_TYPES = frozenset({"Cut", "MonoCut", "MultiCut", "MixedCut", "PaddingCut"})


def lhotse_row(number: int, record: dict[str, Any]) -> Row:
    """Let Lhotse read one cut, and keep what names its audio: one file, a span, a channel or all of them."""
    from lhotse.serialization import deserialize_item

    kind = record["type"]
    if kind not in ("Cut", "MonoCut", "MultiCut"):
        raise ValueError(f"found a Lhotse {kind}, expected cuts of one recording (MonoCut or MultiCut)")
    try:
        cut = deserialize_item(record)
        recording = cut.recording
        sources = [] if recording is None else recording.sources
    except Exception as error:  # it checks nothing of what it is given
        raise ValueError(f"Lhotse cannot read the cut: {type(error).__name__}: {error}") from error
    if len(sources) != 1 or sources[0].type != "file":
        kinds = [source.type for source in sources]
        raise ValueError(f"cut {cut.id!r} has sources {kinds}, expected a recording of one 'file'")
    if recording.transforms:
        raise ValueError(f"cut {cut.id!r} has transforms on its recording, expected audio as it is on disk")
    supervision = cut.supervisions[0] if cut.supervisions else None
    custom = {**(cut.custom or {}), **(supervision.custom or {} if supervision else {})}
    whole = cut.start == 0 and math.isclose(cut.duration, recording.duration, abs_tol=1e-3)
    return Row(
        line=number,
        path=sources[0].source,
        key=cut.id,
        start=None if whole else cut.start,
        duration=None if whole else cut.duration,
        channel=_channel(cut, sources[0].channels),
        facts={"label": text_of(custom, LABEL_FIELDS), **_supervised(supervision)},
    )


def _channel(cut: Any, available: list[int]) -> int | None:
    """Place of the cut's only channel in its file; None stands for the mean of all of them."""
    wanted = [cut.channel] if isinstance(cut.channel, int) else list(cut.channel)
    if sorted(wanted) == sorted(available):
        return None
    if len(wanted) != 1 or wanted[0] not in available:
        raise ValueError(f"cut {cut.id!r} takes channels {wanted} of {available}, expected one of them or all")
    return available.index(wanted[0])


def _supervised(supervision: Any) -> dict[str, str | None]:
    """What a supervision says of its utterance."""
    if supervision is None:
        return {}
    return {name: text_of(vars(supervision), (name,)) for name in ("speaker", "gender", "text", "language")}
