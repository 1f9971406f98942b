"""What a server answers in place of a result: a status and a sentence."""

from __future__ import annotations

UNPROCESSABLE, TOO_LARGE, FAILED = 422, 413, 500
"""Statuses of what cannot be used, of what is too large or too long, and of what nobody foresaw."""


class RequestError(Exception):
    """A request cannot be answered as it was meant.

    Attributes:
        status: of HTTP.
        retry_after: when it is worth trying again, in s; None where it is not.
    """

    def __init__(self, status: int, sentence: str, retry_after: float | None = None):
        super().__init__(sentence)
        self.status = status
        self.retry_after = retry_after


class ProcessEndedError(Exception):
    """The process that worked on something has ended."""
