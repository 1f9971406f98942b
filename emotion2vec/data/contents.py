"""What a file holds, as a hash of its bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path


def content_key(path: Path) -> str | None:
    """Hash of a file's bytes, or None when it cannot be read."""
    digest = hashlib.blake2b(digest_size=16)
    try:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError:
        return None
    return digest.hexdigest()
