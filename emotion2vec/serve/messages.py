"""What processes of a server tell each other: a JSON object, and arrays as they lie in memory.

So no bytes from outside are unpickled, and arrays are received where they stay.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

NUMBERS = "biuf"
"""Kinds of what arrays hold: booleans, integers and floating-point numbers."""


WHOLE = "whole:"
"""What names of scores begin with that are of a whole clip, where those of its windows are there too."""


def send(connection: Connection, facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> None:
    """Send a message; one at a time, since it may be several of the pipe's."""
    whole = {name: np.ascontiguousarray(array) for name, array in (arrays or {}).items()}
    said = [(name, array.dtype.str, array.shape) for name, array in whole.items()]
    connection.send_bytes(json.dumps([dict(facts), said]).encode())
    for array in whole.values():
        if array.size:
            connection.send_bytes(array.data.cast("B"))


def bytes_of(array: np.ndarray) -> bytes:
    """The bytes that an array was received in, which are not copied."""
    held: object = array
    while isinstance(held, np.ndarray):
        held = held.base
    assert isinstance(held, bytes)
    return held


def receive(connection: Connection) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The object and the arrays of the next message.

    Raises:
        OSError: the pipe broke.
        EOFError: nobody is at its other end.
        ValueError: it is no message.
        TypeError: the same.
    """
    facts, said = json.loads(connection.recv_bytes())
    arrays = {}
    for name, kind, shape in said:
        dtype = np.dtype(kind)
        if dtype.kind not in NUMBERS or min(shape, default=0) < 0:
            raise ValueError(f"{name} holds {dtype} in the shape {shape}, expected numbers")
        data = connection.recv_bytes() if math.prod(shape) else b""
        arrays[name] = np.frombuffer(data, dtype).reshape(shape)
    return facts, arrays
