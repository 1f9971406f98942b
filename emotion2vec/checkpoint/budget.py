"""What a file of a model may cost: one budget for every reader, and one kind of error for whatever is in it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from emotion2vec.corpora.faults import shortened
from emotion2vec.errors import CheckpointError, ConfigError

MOST_MEMBERS = 50_000
"""Files in a zip archive: one for each tensor of a model and its optimizer."""

MOST_DIRECTORY = 1 << 24
"""Bytes of what an archive says of its members, and of what a file says of its tensors."""

MOST_PICKLE = 1 << 26
"""Bytes of a pickle without its tensors."""

MOST_STEPS = 500_000
"""Steps of a pickle, and what they copy."""

MOST_RANK, MOST_EMPTY = 16, 1 << 16
"""Dimensions of a tensor, and their lengths where it holds no numbers."""

MOST_TIMES = 4
"""How often the bytes of a file may be in tensors that share them."""

MOST_SAID = 3000
"""Characters of a message."""


class Budget:
    """Counts down what reading one file takes.

    Args:
        steps: what it may take.
    """

    def __init__(self, steps: int = MOST_STEPS):
        self.left = steps

    def spend(self, steps: int) -> None:
        """Count steps.

        Raises:
            ValueError: there were more than the budget has.
        """
        self.left -= steps
        if self.left < 0:
            raise ValueError(f"it takes more than {MOST_STEPS:,} steps")


def check_shape(shape: Sequence[int], numbers: int) -> None:
    """See to it that a tensor has no more than there is: what is empty in one dimension may be endless in others.

    Args:
        shape: of the tensor.
        numbers: how many its storage holds.

    Raises:
        ValueError: it has more.
    """
    lengths = math.prod(max(1, length) for length in shape) if len(shape) <= MOST_RANK else math.inf
    if min(shape, default=0) < 0 or lengths > max(numbers, MOST_EMPTY):
        raise ValueError(f"a tensor of shape {shortened(str(tuple(shape)), 200)} where {numbers} numbers are")


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Turn whatever reading a model ends in into one short sentence that names it.

    Raises:
        CheckpointError: the block raised anything but a ConfigError.
    """
    try:
        yield
    except ConfigError:
        raise
    except CheckpointError as error:
        if len(str(error)) <= MOST_SAID:
            raise
        raise CheckpointError(shortened(str(error), MOST_SAID)) from error
    except Exception as error:  # nobody knows what a damaged or hostile file does to a reader
        reason = shortened(" ".join(str(error).split()), 300)
        raise CheckpointError(f"{path}: is no model that can be read: {type(error).__name__}: {reason}") from error
