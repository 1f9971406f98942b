"""Numbers by update, as `metrics.jsonl` and its like have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_lines(file: Path) -> list[dict[str, Any]]:
    """Complete lines of a JSONL file of numbers by update; a line that was cut off is left out."""
    found = []
    for line in file.read_text(encoding="utf-8").splitlines(keepends=True) if file.is_file() else []:
        try:
            values = json.loads(line)
        except ValueError:
            continue
        if line.endswith("\n") and isinstance(values, dict) and isinstance(values.get("update"), int):
            found.append(values)
    return found
