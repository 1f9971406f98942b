"""Files of a request: its body as it is, or the parts of a form; never a path or an address on the client's word."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from emotion2vec.serve.engine import Room
from emotion2vec.serve.errors import RequestError
from emotion2vec.serve.options import Limits

FORM = "multipart/form-data"
LONGEST_NAME = 200
"""Most characters of a file's name."""


async def files_of(request: Request, limits: Limits, room: Room) -> list[tuple[str, bytes]]:
    """The files of a request, with their names.

    Args:
        request: with a form, or with one file as its body, whose name may be in the query as `name`.
        limits: how many files, and how large.
        room: what they are held in.

    Raises:
        RequestError: there are none, too many, or too much.
    """
    try:
        if not request.headers.get("content-type", "").startswith(FORM):
            blocks = [block async for block in _held(request, room)]
            return _checked([(_shown(request.query_params.get("name") or "audio"), b"".join(blocks))])
        most = limits.max_files
        parser = MultiPartParser(request.headers, _held(request, room), max_files=most, max_fields=most)
        async with AsyncExitStack() as stack:
            form = await parser.parse()
            stack.push_async_callback(form.close)
            parts = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
            return _checked([(_shown(part.filename or "audio"), await part.read()) for part in parts])
    except MultiPartException as error:
        raise RequestError(400, f"the form cannot be read: {error.message}") from error
    except KeyError:
        raise RequestError(400, "the form cannot be read: its head names no boundary") from None
    except ClientDisconnect:
        raise RequestError(400, "the body ended before it was whole") from None


async def _held(request: Request, room: Room) -> AsyncGenerator[bytes, None]:
    """A body as it comes, for which there has to be room."""
    async for block in request.stream():
        room.hold(len(block))
        yield block


def _checked(files: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    if not files:
        raise RequestError(400, "there is no file in the form, expected at least one")
    if len(files) == 1 and not files[0][1]:
        raise RequestError(400, f"{files[0][0]}: it is empty, expected audio")
    return files


def _shown(name: str) -> str:
    """A client's name of a file, on one line and not too long."""
    clean = "".join(char if char.isprintable() else "?" for char in name)
    return clean if len(clean) <= LONGEST_NAME else f"{clean[: LONGEST_NAME - 1]}…"
