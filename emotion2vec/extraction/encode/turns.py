"""Results that come as they are ready -> the order of the job's list, in bounded memory."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import replace
from typing import Protocol, TypeVar

from emotion2vec.errors import ConfigError
from emotion2vec.extraction.encode.arrays import EncodedAudio
from emotion2vec.extraction.encode.spool import Spool, SpooledArray

HOLD_BYTES = 512 * 1024 * 1024
"""Features in memory that wait for their turn; those that are more than this wait on disk. A pool of batches is some
370 MB of frames of the base model on a GPU; more come ahead of their turn while one lane is busy with long audio."""


class Result(Protocol):
    """What became of one item.

    Attributes:
        index: its place in the job's list.
    """

    @property
    def index(self) -> int:
        """See the class."""


AnyResult = TypeVar("AnyResult", bound=Result)


def in_turn(results: Iterable[AnyResult], indices: Iterable[int], spool: Spool) -> Generator[AnyResult, None, None]:
    """Hand results out in the order of the indices; each waits until all before it are there.

    Nothing waits for an item without a result after the last result came.

    Raises:
        ConfigError: the disk cannot hold those that wait.
    """
    order, waiting, held = iter(indices), dict[int, tuple[AnyResult, int]](), 0
    turn = next(order, None)
    for result in results:
        if result.index != turn:
            size = _size(result)
            if size and held + size > HOLD_BYTES:
                result, size = _on_disk(result, spool), 0
            waiting[result.index] = result, size
            held += size
            continue
        yield result
        turn = next(order, None)
        while turn is not None and turn in waiting:
            result, size = waiting.pop(turn)
            held -= size
            yield result
            turn = next(order, None)
    for index in [] if turn is None else [turn, *order]:
        if index in waiting:
            yield waiting.pop(index)[0]


def _size(result: Result) -> int:
    """Bytes of features that a result holds in memory."""
    arrays = result.features.values() if isinstance(result, EncodedAudio) else []
    return sum(array.nbytes for array in arrays if not isinstance(array, SpooledArray))


def _on_disk(result: AnyResult, spool: Spool) -> AnyResult:
    assert isinstance(result, EncodedAudio)
    try:
        return replace(result, features=spool.keep(result.features))
    except OSError as error:
        raise ConfigError(f"features that wait for their turn cannot be held on disk: {error.strerror}") from error
