"""A data source that goes away for a while: wait for it with backoff, then go on where it was."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from emotion2vec.data.batches import MicroBatch, Position
from emotion2vec.errors import ManifestError, TrainingError

if TYPE_CHECKING:
    from lhotse.cut import Cut

LONGEST_PAUSE = 60.0
"""Seconds between two looks at a source that is away, once the pauses have doubled that far."""

Opener = Callable[[Position], Generator[MicroBatch, None, None]]


def patient_batches(
    open_at: Opener,
    start: Position,
    *,
    reachable: Callable[[], bool],
    patience: float,
    say: Callable[[str], None],
    stopping: Callable[[], bool],
) -> Generator[MicroBatch, None, None]:
    """Pass on micro-batches; when the source is away, wait and read again from where it was lost.

    A single bad file is no lost source: it is named in the batch's `skipped`, and training goes on without it.

    Args:
        open_at: opens the stream of micro-batches at a position.
        start: where to begin.
        reachable: whether anything of the source can be read.
        patience: seconds to wait for it altogether.
        say: tells the user that and why nothing goes on.
        stopping: whether the run is asked to stop, which ends the waiting.

    Raises:
        TrainingError: the source did not come back.
        ManifestError: the source is there but holds nothing usable.
    """
    position = start
    while True:
        stream = open_at(position)
        try:
            for batch in stream:
                if batch.skipped and not reachable():
                    reason = str(batch.skipped[0])
                    break
                position = batch.position
                yield batch
            else:
                return
        except ManifestError as error:
            if reachable():
                raise
            reason = str(error)
        except OSError as error:
            reason = str(error)
        finally:
            stream.close()
        _wait(reason, reachable, patience, say, stopping)


def _wait(
    reason: str,
    reachable: Callable[[], bool],
    patience: float,
    say: Callable[[str], None],
    stopping: Callable[[], bool],
) -> None:
    began, pause = time.monotonic(), 1.0
    say(f"the data source is away ({reason}); waiting up to {patience:.0f} s for it")
    while not reachable():
        left = patience - (time.monotonic() - began)
        if left <= 0 or stopping():
            raise TrainingError(f"the data source is away: {reason}; waited {time.monotonic() - began:.0f} s for it")
        _sleep(min(pause, left), stopping)
        pause = min(2 * pause, LONGEST_PAUSE)
    say(f"the data source is back after {time.monotonic() - began:.0f} s")


def _sleep(seconds: float, stopping: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not stopping():
        time.sleep(min(0.5, max(0.0, until - time.monotonic())))


def any_readable(cuts: Sequence[Cut], witnesses: int = 8) -> bool:
    """Whether the audio of any of a few utterances, spread over the corpus, can be opened and read."""
    chosen = cuts[:: max(1, len(cuts) // witnesses)][:witnesses]
    paths = [Path(cut.recording.sources[0].source) for cut in chosen if cut.recording.sources[0].type == "file"]
    for path in paths:
        try:
            with path.open("rb") as stream:
                if stream.read(1):
                    return True
        except OSError:
            continue
    return not paths
