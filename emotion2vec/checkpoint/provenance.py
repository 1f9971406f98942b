"""Where weights come from: checksums of their files, and the licence that the files beside them state."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

_CARD_FILE = "README.md"
_LICENCE_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "COPYING")
_LICENCE_FIELDS = ("license", "license_name", "license_link")


def sha256(path: Path) -> str:
    """SHA-256 of a file, read piece by piece."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def licence(path: Path) -> dict[str, str]:
    """What the files beside the weights say about the licence, as the fields of a model card on the Hugging Face Hub.

    Args:
        path: the checkpoint's folder or file.

    Returns:
        `license`, and `license_name` and `license_link` where they are given: of the card's header, or else `other`
        and the first line of a licence file; empty when nothing is said.
    """
    folder = path if path.is_dir() else path.parent
    header = _card_header(folder / _CARD_FILE)
    if header.get("license"):
        return {key: _text(header[key]) for key in _LICENCE_FIELDS if header.get(key)}
    for name in _LICENCE_FILES:
        if (folder / name).is_file():
            lines = (folder / name).read_text(encoding="utf-8", errors="replace").splitlines()
            first = next((line.strip() for line in lines if line.strip()), None)
            return {"license": "other", "license_name": first} if first else {}
    return {}


def licence_text(fields: Mapping[str, str]) -> str:
    """The fields of `licence` in one line; `unknown` without any."""
    said = [value for key, value in fields.items() if (key, value) != ("license", "other")]
    return ", ".join(said) or fields.get("license", "unknown")


def _card_header(card: Path) -> dict[str, Any]:
    """The YAML between the first two lines of dashes of a model card; empty when it has none, or none that is YAML."""
    lines = card.read_text(encoding="utf-8", errors="replace").splitlines() if card.is_file() else []
    if lines[:1] != ["---"] or "---" not in lines[1:]:
        return {}
    try:
        header = yaml.safe_load("\n".join(lines[1 : lines.index("---", 1)]))
    except yaml.YAMLError:
        return {}
    return header if isinstance(header, dict) else {}


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
