"""Live audio over a WebSocket: 16-bit samples in, labels of each step out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
from starlette.websockets import WebSocket, WebSocketDisconnect

from emotion2vec.serve.engine import Engine
from emotion2vec.serve.errors import TOO_LARGE, UNPROCESSABLE, RequestError
from emotion2vec.serve.streams import LiveStream

END = "end"
"""The text that ends a stream; what is left of it is answered, and the connection closed."""

REFUSED, TRY_AGAIN = 1008, 1013
"""Codes of WebSockets: this cannot be done, and not now."""

BOUNDS = {"sample_rate": (8_000, 192_000), "hop": (0.1, 10.0), "lookahead": (0.0, 10.0), "context": (0.0, 30.0)}
"""Least and greatest sample rate in Hz, and times in s: others would keep everybody waiting."""

PIECE_SECONDS = 1.0
"""Audio that is computed before others have their turn, in s."""


async def serve_stream(
    socket: WebSocket, engine: Engine, name: str | None, sample_rate: int, options: Mapping[str, float]
) -> None:
    """Answer a live stream: for each step that is complete a JSON object with `start`, `end`, `label` and `scores`.

    What is wrong is sent as `error`, before the connection is closed.

    Args:
        socket: gives mono 16-bit samples, the low byte first, in messages of any length, then the text `end`.
        engine: computes.
        name: of the model.
        sample_rate: of what comes, in Hz.
        options: `hop`, `lookahead` and `context` in s, see `emotion2vec.StreamOptions`.
    """
    await socket.accept()
    try:
        for key, value in {"sample_rate": sample_rate, **options}.items():
            low, high = BOUNDS[key]
            if not low <= value <= high:
                raise RequestError(UNPROCESSABLE, f"{key} is {value}, expected {low:g} to {high:g}")
        facts = engine.model(name)
        async with engine.stream(facts["name"], sample_rate, options) as live:
            await _answer(socket, engine, live, sample_rate)
        await socket.close()
    except WebSocketDisconnect:
        return
    except RequestError as error:
        await socket.send_json({"error": str(error)})
        await socket.close(TRY_AGAIN if error.retry_after is not None or error.status >= 500 else REFUSED)


async def _answer(socket: WebSocket, engine: Engine, live: LiveStream, sample_rate: int) -> None:
    rest, heard = b"", 0
    while True:
        text, data = await _received(socket, engine)
        if text is not None:
            if text.strip() != END:
                raise RequestError(UNPROCESSABLE, f"the text {text[:40]!r} was sent, expected samples or {END!r}")
            if rest:
                raise RequestError(UNPROCESSABLE, "the stream ends within a sample: an odd number of bytes was sent")
            for step in await live.tell("finish"):
                await socket.send_json(_told(step))
            return
        whole = rest + data
        rest = whole[len(whole) // 2 * 2 :]
        samples = np.frombuffer(whole[: len(whole) // 2 * 2], "<i2").astype(np.int16)
        heard += samples.size
        if heard > engine.limits.max_seconds * sample_rate:
            most = engine.limits.max_seconds
            raise RequestError(TOO_LARGE, f"the stream is longer than {most:g} s, expected at most that")
        length = round(PIECE_SECONDS * sample_rate)
        for begin in range(0, samples.size, length):
            for step in await live.tell("push", samples[begin : begin + length]):
                await socket.send_json(_told(step))


async def _received(socket: WebSocket, engine: Engine) -> tuple[str | None, bytes]:
    """The next message: its text, or its bytes.

    Raises:
        RequestError: nothing comes.
        WebSocketDisconnect: nobody is there.
    """
    most = engine.limits.timeout
    try:
        message = await asyncio.wait_for(socket.receive(), most)
    except asyncio.TimeoutError:
        raise RequestError(408, f"nothing was sent for {most:g} s") from None
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1000))
    return message.get("text"), message.get("bytes") or b""


def _told(step: Mapping[str, Any]) -> dict[str, Any]:
    scores = step["scores"]
    label = max(scores, key=scores.__getitem__) if scores else None
    return {"start": step["start"], "end": step["end"], "label": label, "scores": scores}
