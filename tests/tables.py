"""What `predict` wrote, read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Rows of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def scores_of(row: dict[str, Any], head: str = "score") -> dict[str, float]:
    """Scores of a row by label."""
    return {name.partition(":")[2]: row[name] for name in row if name.startswith(f"{head}:") and name[-6:] != ":label"}


def stem_of(row: dict[str, Any]) -> str:
    """The file's name without its suffix."""
    return Path(row["file"]).stem
