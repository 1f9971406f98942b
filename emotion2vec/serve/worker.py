"""The process that holds the models on a device: it takes what waits, computes it together, and answers each."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict, deque
from collections.abc import Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.devices import is_host
from emotion2vec.errors import Emotion2vecError
from emotion2vec.serve.child import leave_signals, messages
from emotion2vec.serve.errors import FAILED, UNPROCESSABLE
from emotion2vec.serve.messages import send
from emotion2vec.serve.work import Asked, Served, Streams

LOG = logging.getLogger(__name__)

CPU_SECONDS, GPU_SECONDS = 64.0, 600.0
"""Audio that is taken at once, on a CPU and on other devices, in s: more keeps those waiting that come meanwhile."""

Message = tuple[dict[str, Any], dict[str, np.ndarray]]


class _Worker:
    """What waits, and how it is answered."""

    def __init__(self, connection: Connection, models: dict[str, Served]):
        self._connection, self._models = connection, models
        self._waiting: deque[Message | None] = deque()
        self._came = threading.Condition()
        self._streams = Streams()
        first = next(iter(models.values()))
        self._seconds = CPU_SECONDS if is_host(first.ready.model.device) else GPU_SECONDS
        threading.Thread(target=self._listen, name="requests", daemon=True).start()

    def _listen(self) -> None:
        for facts, arrays in messages(self._connection):
            with self._came:
                if "forget" in facts:
                    kept = [one for one in self._waiting if one is None or one[0]["id"] != facts["forget"]]
                    self._waiting = deque(kept)
                else:
                    self._waiting.append((facts, arrays))
                self._came.notify()
        with self._came:
            self._waiting.append(None)
            self._came.notify()

    def run(self) -> None:
        """Answer until the server closes."""
        while (taken := self._take()) is not None:
            groups: dict[str, list[Asked]] = defaultdict(list)
            for facts, arrays in taken:
                if "stream" in facts:
                    served = self._models[facts["model"]]
                    self._streams.handle(served, facts, arrays.get("samples"), self._reply)
                    continue
                one = Asked(facts.pop("id"), facts, arrays["samples"])
                groups[one.alike].append(one)
            for group in groups.values():
                self._answer(group)

    def _take(self) -> list[Message] | None:
        """What waits, up to a budget; at least one. None at the end."""
        with self._came:
            self._came.wait_for(lambda: self._waiting)
            taken: list[Message] = []
            seconds = 0.0
            while self._waiting and seconds < self._seconds:
                message = self._waiting[0]
                if message is None:  # stays for the next time
                    return taken or None
                taken.append(message)
                seconds += _seconds(message)
                self._waiting.popleft()
            return taken

    def _answer(self, group: Sequence[Asked]) -> None:
        """Answer clips that are computed together; a fault of one that ends all of them is said to each."""
        left = {one.id for one in group}
        count = len(group)

        def reply(facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
            left.discard(facts["id"])
            self._reply({**facts, "together": count}, arrays)

        try:
            self._models[group[0].what["model"]].answer(group, reply)
        except Exception as error:
            if isinstance(error, Emotion2vecError):  # a mistake of whoever asks, who shall not fill the log
                status, sentence = UNPROCESSABLE, str(error)
            else:
                LOG.exception("%d clips could not be computed", len(left))
                status, sentence = FAILED, f"the model failed: {type(error).__name__}"
            for number in left:
                self._reply({"id": number, "error": sentence, "status": status}, {})

    def _reply(self, facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        send(self._connection, facts, arrays)


def _seconds(message: Message) -> float:
    samples = message[1].get("samples")
    return 0.0 if samples is None else samples.size / SAMPLE_RATE


def main(connection: Connection, names: Sequence[str], device: str | None, precision: str) -> None:
    """Load models and answer; the work of the process.

    Args:
        connection: gives what `Asked` and `Streams` take, as `id`, `model` and more, and takes the answers.
        names: of the models.
        device: see `choose_device`.
        precision: see `ready_model`.
    """
    leave_signals()
    with ExitStack() as stack:
        try:
            models = {name: Served(name, device, precision, stack) for name in names}
        except Emotion2vecError as error:
            send(connection, {"fault": str(error)})
            return
        send(connection, {"models": [one.facts() for one in models.values()]})
        _Worker(connection, models).run()
