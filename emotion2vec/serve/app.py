"""The HTTP interface: labels, features and live streams of what is sent; see docs/serving.md."""

from __future__ import annotations

import asyncio
import io
import logging
import math
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import numpy as np
from fastapi import FastAPI, Query, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from safetensors.numpy import save
from starlette.exceptions import HTTPException

from emotion2vec.extraction.encode.choices import FeatureChoice, read_layers
from emotion2vec.serve.child import Answer
from emotion2vec.serve.engine import Clip, Engine, Room
from emotion2vec.serve.errors import FAILED, UNPROCESSABLE, RequestError
from emotion2vec.serve.guard import Guard, answer
from emotion2vec.serve.live import serve_stream
from emotion2vec.serve.results import Question, told
from emotion2vec.serve.uploads import files_of
from emotion2vec.version import __version__

LOG = logging.getLogger(__name__)

Result = TypeVar("Result")

TEXT_BYTES = 22
"""What a number takes in JSON."""

BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}}
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
"""What the description of the interface says of bodies."""

Model = Annotated[str | None, Query(description="One of /v1/models; the first by default.")]
Channel = Annotated[int | None, Query(ge=0, description="A channel, from 0; by default the mean of all.")]
Damaged = Annotated[bool, Query(description="Take what there is of a damaged file.")]
Window = Annotated[float | None, Query(description="Score windows of so many s, in place of whole clips.")]
Classes = Annotated[str, Query(description="Labels to tell apart, with commas between them; all by default.")]
Abstain = Annotated[float | None, Query(description="Give no label below this probability.")]
Adapt = Annotated[bool, Query(description="Adapt to the clips: at least 30, of mixed emotions.")]


def create_app(engine: Engine, token: str = "") -> FastAPI:
    """A server as an ASGI application.

    Args:
        engine: opened, and closed by whoever opened it.
        token: what requests must bear; empty for nothing.
    """
    app = FastAPI(
        title="emotion2vec",
        version=__version__,
        summary="Emotion labels and features of speech",
        docs_url=None,  # which loads scripts from elsewhere
        redoc_url=None,
    )
    app.state.engine = engine
    _add_errors(app)
    _add_routes(app)
    routes = frozenset(getattr(route, "path", "") for route in app.routes)
    app.add_middleware(Guard, options=engine.options, token=token, metrics=engine.metrics, routes=routes)
    return app


def _add_routes(app: FastAPI) -> None:
    app.get("/healthz", summary="Whether clips can be computed")(_health)
    app.get("/metrics", summary="Counts, in the format of Prometheus")(_metrics)
    app.get("/v1/models", summary="What is served")(_models)
    app.post("/v1/predict", summary="Labels and scores of one file or several", openapi_extra=BODY)(_predict)
    app.post("/v1/features", summary="Features of one file", openapi_extra=BODY)(_features)
    app.websocket("/v1/stream")(_stream)


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(RequestError)
    async def _(request: Request, error: RequestError) -> Response:
        return answer(error)

    @app.exception_handler(HTTPException)
    async def _(request: Request, error: HTTPException) -> Response:
        return JSONResponse({"error": f"{request.url.path}: {error.detail}"}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def _(request: Request, error: RequestValidationError) -> Response:
        faults = [f"{one['loc'][-1]} is {one.get('input')!r}: {one['msg']}" for one in error.errors()]
        return JSONResponse({"error": "; ".join(faults)}, UNPROCESSABLE)

    @app.exception_handler(Exception)
    async def _(request: Request, error: Exception) -> Response:
        LOG.error("%s failed", request.url.path, exc_info=error)
        return JSONResponse({"error": "the server failed; its log says why"}, FAILED)


async def _health(request: Request) -> Response:
    healthy = request.app.state.engine.healthy
    return JSONResponse({"status": "ok" if healthy else "no process can compute now"}, 200 if healthy else 503)


async def _metrics(request: Request) -> Response:
    return Response(request.app.state.engine.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _models(request: Request) -> list[dict[str, Any]]:
    return list(request.app.state.engine.models.values())


async def _predict(
    request: Request,
    window: Window = None,
    classes: Classes = "",
    abstain: Abstain = None,
    adapt: Adapt = False,
    model: Model = None,
    channel: Channel = None,
    accept_damaged: Damaged = False,
) -> dict[str, Any]:
    engine: Engine = request.app.state.engine
    facts = engine.model(model)
    names = [name.strip() for name in classes.split(",") if name.strip()]
    question = Question(window, names, abstain, adapt)
    question.check(facts, engine.limits.max_seconds)

    async def heard(name: str, body: bytes, room: Room) -> tuple[Clip, Answer] | RequestError:
        try:
            clip = await engine.decode(name, body, channel=channel, accept_damaged=accept_damaged)
            room.hold(clip.samples.nbytes)
            return clip, await engine.compute(facts["name"], clip, {"window": window})
        except RequestError as error:
            return error

    async def answered() -> dict[str, Any]:
        with engine.admitted() as room:
            files = await files_of(request, engine.limits, room)
            found = await asyncio.gather(*(heard(name, body, room) for name, body in files))
            good = [one for one in found if not isinstance(one, RequestError)]
            bad = [one for one in found if isinstance(one, RequestError)]
            if bad and (not good or any(one.status >= 429 for one in bad)):  # 422 is below: others may succeed
                raise max(bad, key=lambda one: one.status)
            clips, warnings = told(facts, question, good)
        result: dict[str, Any] = {"model": facts["name"], "clips": clips}
        result |= {"failed": [str(one) for one in bad]} if bad else {}
        return result | ({"warnings": warnings} if warnings else {})

    return await _in_time(engine, answered)


async def _features(
    request: Request,
    granularity: Annotated[str, Query(description="frame, utterance or both.")] = "utterance",
    layers: Annotated[str, Query(description="last, all, or numbers of blocks such as 2,5.")] = "last",
    pooling: Annotated[str, Query(description="mean, mean+std or tokens.")] = "mean",
    format: Annotated[str, Query(description="json, npy (of one array) or safetensors.")] = "json",
    model: Model = None,
    channel: Channel = None,
    accept_damaged: Damaged = False,
) -> Response:
    engine: Engine = request.app.state.engine
    facts = engine.model(model)
    chosen = {"granularity": granularity, "layers": layers, "pooling": pooling}
    faults = FeatureChoice(granularity=granularity, layers=layers, pooling=pooling).faults()
    if format not in ("json", "npy", "safetensors") or (format == "npy" and granularity == "both"):
        expected = "json or safetensors" if granularity == "both" else "json, npy or safetensors"
        faults.append(f"format is {format!r}, expected {expected}")
    if "weights:" in layers:
        faults.append(f"layers is {layers!r}, which names a file, expected last, all or numbers of blocks")
    elif not faults and len(set(numbers := read_layers(layers).numbers or [])) < len(numbers):
        faults.append("layers has a number more than once, expected each once")
    if faults:
        raise RequestError(UNPROCESSABLE, "; ".join(faults))

    async def answered() -> Response:
        with engine.admitted() as room:
            files = await files_of(request, engine.limits, room)
            if len(files) > 1:
                raise RequestError(UNPROCESSABLE, f"{len(files)} files were sent, expected one")
            ((name, body),) = files
            clip = await engine.decode(name, body, channel=channel, accept_damaged=accept_damaged)
            size = _size(clip, facts, granularity, layers, format)
            if fault := engine.too_large(clip, size):
                raise fault
            room.hold(clip.samples.nbytes + size)
            _, arrays = await engine.compute(facts["name"], clip, {"choice": chosen})
            return await asyncio.to_thread(_encoded, format, facts["name"], clip, arrays)

    return await _in_time(engine, answered)


def _size(clip: Clip, model: dict[str, Any], granularity: str, layers: str, format: str) -> int:
    """What features of a clip will take, in bytes."""
    vectors = 2 if granularity == "utterance" else math.ceil(clip.seconds * model["frames_per_second"]) + 2
    depth = model["blocks"] if layers == "all" else len(read_layers(layers).numbers or [0])
    return vectors * depth * int(model["width"]) * (TEXT_BYTES if format == "json" else 4)


def _encoded(format: str, model: str, clip: Clip, arrays: dict[str, np.ndarray]) -> Response:
    """Features as they were asked for."""
    if format == "safetensors":
        return Response(save(arrays, {"model": model}), media_type="application/octet-stream")
    if format == "npy":
        (array,) = arrays.values()
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        return Response(buffer.getvalue(), media_type="application/octet-stream")
    found = {"model": model, "name": clip.name, "seconds": round(clip.seconds, 3)}
    notes = {"notes": list(clip.notes)} if clip.notes else {}
    return JSONResponse(found | notes | {name: array.tolist() for name, array in arrays.items()})


async def _in_time(engine: Engine, work: Callable[[], Awaitable[Result]]) -> Result:
    """Do what a request asks for, in the time that it has.

    Raises:
        RequestError: it takes longer.
    """
    most = engine.limits.timeout
    try:
        return await asyncio.wait_for(work(), most)
    except asyncio.TimeoutError:
        raise RequestError(503, f"the request took longer than {most:g} s", retry_after=most) from None


async def _stream(
    socket: WebSocket,
    sample_rate: int = 16_000,
    hop: float = 0.5,
    lookahead: float = 0.5,
    context: float = 5.0,
    model: str | None = None,
) -> None:
    options = {"hop": hop, "lookahead": lookahead, "context": context}
    await serve_stream(socket, socket.app.state.engine, model, sample_rate, options)
