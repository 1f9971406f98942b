"""JSON documents of Hugging Face folders, and the labels that they name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emotion2vec import documents
from emotion2vec.errors import CheckpointError


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        CheckpointError: it is no such file.
    """
    try:
        content = documents.read_json(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, expected an object")
    return content


def json_text(document: Mapping[str, Any]) -> str:
    """A document as transformers writes it."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def read_labels(document: Mapping[str, Any], path: Path, outputs: int) -> tuple[str, ...]:
    """The labels of a classifier of so many outputs; `LABEL_0` and so on where none are named.

    Raises:
        CheckpointError: they are not one for each output.
    """
    labels = document.get("id2label") or {str(number): f"LABEL_{number}" for number in range(outputs)}
    if not isinstance(labels, dict) or set(labels) != {str(number) for number in range(outputs)}:
        raise CheckpointError(
            f"{path}: id2label is {labels!r}, expected labels 0 to {outputs - 1}, one for each output"
        )
    return tuple(str(labels[str(number)]) for number in range(outputs))


def written_labels(labels: Sequence[str]) -> dict[str, Any]:
    """The entries that name labels."""
    return {
        "id2label": {str(number): label for number, label in enumerate(labels)},
        "label2id": {label: number for number, label in enumerate(labels)},
    }
