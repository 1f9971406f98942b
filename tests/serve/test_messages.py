"""Messages between a server's processes: arrays come as they were sent, and what is no message is refused."""

from __future__ import annotations

import json
import multiprocessing
import threading
from typing import Any

import numpy as np
import pytest

from emotion2vec.serve.messages import bytes_of, receive, send


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"samples": np.arange(100_000, dtype=np.float32)},  # more than a pipe holds at once
        {"a": np.zeros((0, 7), np.float32), "b": np.ones((2, 3, 4))[:, ::2], "c": np.array(3, np.int16)},
    ],
)
def test_what_is_sent_is_received(arrays: dict[str, np.ndarray]) -> None:
    here, there = multiprocessing.Pipe()
    facts = {"id": 1, "name": "ä\udce9\n", "most": 0.1}
    sender = threading.Thread(target=lambda: [send(here, facts, arrays), send(here, {"id": 2})])
    sender.start()
    said, found = receive(there)
    assert said == facts and found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
        if array.size:
            held = bytes_of(found[name])
            assert held == array.tobytes() and np.frombuffer(held, np.uint8).ctypes.data == found[name].ctypes.data
    assert receive(there) == ({"id": 2}, {})
    sender.join()


@pytest.mark.parametrize(
    "said",
    [
        [{}],
        [{}, [["a", "O", [1]]]],
        [{}, [["a", "no type", [1]]]],
        [{}, [["a", "<f4", [3]]]],
        [{}, [["a", "<f4", [-1, 2]]]],
        [{}, [["a", "M8[s]", [1]]]],
    ],
)
def test_what_is_no_message_is_refused(said: Any) -> None:
    here, there = multiprocessing.Pipe()
    here.send_bytes(json.dumps(said).encode())
    here.send_bytes(b"12345678")
    with pytest.raises((ValueError, TypeError)):
        receive(there)
