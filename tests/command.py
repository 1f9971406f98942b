"""A command of ours, run in this process."""

from __future__ import annotations

import sys

import pytest

from emotion2vec.cli import main


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """Run `emotion2vec WORDS`; its exit code."""
    monkeypatch.setattr(sys, "argv", ["emotion2vec", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)
