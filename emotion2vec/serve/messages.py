"""What processes of a server tell each other: a JSON object and arrays, so that no bytes from outside are unpickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors.numpy import load, save

HEAD_BYTES = 8
"""Bytes that say how long the JSON object is, which comes first."""


def packed(facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> bytes:
    """A message."""
    head = json.dumps(dict(facts)).encode()
    return len(head).to_bytes(HEAD_BYTES, "little") + head + save(dict(arrays or {}))


def unpacked(message: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The object and the arrays of a message."""
    begin = HEAD_BYTES + int.from_bytes(message[:HEAD_BYTES], "little")
    facts: dict[str, Any] = json.loads(message[HEAD_BYTES:begin])
    return facts, load(message[begin:])
