"""Events of a page, one after the other and at once, with an engine that only pretends."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gradio")

from serve.pretending import Engine, desk_in, heard, sent, viewed

from emotion2vec.serve.engine import Clip
from emotion2vec.serve.engine import Engine as ServersEngine
from emotion2vec.serve.errors import RequestError
from emotion2vec.serve.metrics import Metrics
from emotion2vec.serve.options import Limits, ServeOptions
from emotion2vec.serve.page.desk import Asked, Desk, is_final
from emotion2vec.serve.page.events import Events
from emotion2vec.serve.page.layout import laid_out
from emotion2vec.serve.page.session import Session, newest


@pytest.fixture
def engine() -> Engine:
    return Engine(max_files=3, timeout=0.2)


@pytest.fixture
def desk(engine: Engine, tmp_path: Path) -> Desk:
    return desk_in(tmp_path, engine)


def test_an_older_event_says_nothing_after_a_newer_one() -> None:
    stopped: list[str] = []

    async def work(name: str, started: asyncio.Event, go: asyncio.Event) -> AsyncIterator[str]:
        try:
            yield f"{name} begins"
            started.set()
            await go.wait()
            yield f"{name} ends"
        except asyncio.CancelledError:
            stopped.append(name)
            raise

    async def both() -> list[str]:
        session, said = Session(), list[str]()
        go, never = asyncio.Event(), asyncio.Event()
        go.set()

        async def event(name: str, started: asyncio.Event, waits: asyncio.Event) -> None:
            async for update in newest(session, work(name, started, waits), "nothing"):
                said.append(update)

        began = asyncio.Event()
        old = asyncio.create_task(event("old", began, never))
        await began.wait()
        await event("new", asyncio.Event(), go)
        await asyncio.wait_for(old, 5)
        return said

    found = asyncio.run(both())
    assert found.count("nothing") == 1
    assert [one for one in found if one != "nothing"] == ["old begins", "new begins", "new ends"]
    assert stopped == ["old"]


def test_another_model_is_not_overwritten_by_the_one_before(desk: Desk) -> None:
    page, session = laid_out(["slow", "m"], ["anger", "joy"]), Session()
    events, paths = Events(desk, page), sent(desk, *"abc")
    rest = (0.0, ["anger", "joy"], 0.0, False, False)

    async def shown(updates: Any) -> list[str]:
        return [str(update[page.views.table]) async for update in updates if page.views.table in update]

    async def both() -> tuple[list[str], list[str]]:
        old = asyncio.create_task(shown(events._changed(session, paths, None, "slow", *rest)))
        while not desk.engine.asked:  # type: ignore[attr-defined]
            await asyncio.sleep(0.001)
        new = await shown(events._modelled(session, paths, None, "m", *rest))
        return await old, new

    old, new = asyncio.run(both())
    assert old == [] and len(new) == 1 and "3 clips" in new[0]


def test_a_change_of_options_keeps_the_clips_that_are_compared(desk: Desk) -> None:
    page, session = laid_out(["m"], ["anger", "joy"]), Session()
    events, paths = Events(desk, page), sent(desk, *"abc")

    async def pair() -> list[str]:
        updates = events._changed(session, paths, None, "m", 0.0, ["anger", "joy"], 0.0, False, False)
        last = [update async for update in updates][-1]
        return [last[one].value for one in page.pair]

    first, second, third = (*asyncio.run(pair()), desk.clips(session)[2].key)
    assert first != second != third
    session.pair = (third, second)  # as `_compared` notes it
    assert asyncio.run(pair()) == [third, second]


def test_what_goes_wrong_with_the_newest_event_is_raised() -> None:
    async def broken() -> AsyncIterator[str]:
        yield "begins"
        raise ValueError("no")

    async def event() -> None:
        async for _ in newest(Session(), broken(), "nothing"):
            pass

    with pytest.raises(ValueError, match="no"):
        asyncio.run(event())


@pytest.mark.parametrize(
    ("fault", "passes"),
    [
        (RequestError(422, "a.wav: it is text"), False),
        (RequestError(413, "a.wav: too long"), False),
        (RequestError(408, "a.wav: slow"), True),
        (RequestError(429, "busy"), True),
        (RequestError(503, "a.wav: takes longer"), True),
        (OSError(5, "Input/output error"), True),
        (ValueError("?"), True),
    ],
)
def test_only_faults_of_files_stay(fault: Exception, passes: bool, desk: Desk, engine: Engine) -> None:
    def fails(name: str) -> Clip:
        raise fault

    fine, engine.hears = engine.hears, fails
    session, paths = Session(), sent(desk, "a.wav")
    assert heard(desk, session, paths) == ["a.wav"]
    assert [bool(desk.faults(session)), bool(desk.problems(session))] == [not passes, passes]
    engine.hears = fine
    assert heard(desk, session, paths) == ["a.wav"] * passes
    assert len(desk.clips(session)) == passes and not desk.problems(session)


def test_a_file_that_was_decoded_for_too_long_is_tried_again() -> None:
    class Slow:
        async def ready(self) -> None: ...

        async def ask(self, *_: Any) -> None:
            await asyncio.sleep(5)

        def kill(self) -> None: ...

    async def decoded() -> None:
        engine = ServersEngine(ServeOptions(limits=Limits(decode_seconds=0.01)), Metrics())
        engine._decoders.put_nowait(Slow())  # type: ignore[arg-type]
        await engine.decode("a.wav", b"", channel=None, accept_damaged=False)

    with pytest.raises(RequestError, match="to be decoded") as found:
        asyncio.run(decoded())
    assert not is_final(found.value)


def test_a_file_that_waits_too_long_is_said_so(desk: Desk, engine: Engine) -> None:
    engine.slow, session = 5.0, Session()
    began = time.monotonic()
    heard(desk, session, sent(desk, "a.wav"))
    assert time.monotonic() - began < 4
    assert desk.problems(session) == ["a.wav: takes longer than 0.2 s to be heard; it is tried again"]


def test_files_beyond_the_most_are_said_to_be_left_out(desk: Desk) -> None:
    session = Session()
    assert len(heard(desk, session, sent(desk, *"abcde"))) == 3
    assert desk.problems(session) == ["5 files are open, expected at most 3: the first 3 are used"]
    assert "5 files are open" in viewed(desk, session).messages


def test_the_page_asks_for_whole_clips_as_requests_do(desk: Desk, engine: Engine) -> None:
    session = Session()
    heard(desk, session, sent(desk, *"ab"))
    (clip, _) = desk.clips(session)
    asyncio.run(desk.said(clip, "m", None))
    asyncio.run(desk.said(clip, "m", 0.5))
    assert engine.asked == [{"window": None}, {"window": 0.5}]


def test_what_is_wrong_with_a_question_is_of_no_file(desk: Desk, engine: Engine) -> None:
    session = Session()
    heard(desk, session, sent(desk, *"ab"))
    shown = viewed(desk, session, Asked("m", classes=["anger"]))
    assert "expected at least 2 to tell apart" in shown.messages
    assert "2 clips" in shown.table and "could not be used" not in shown.table

    def busy(name: str) -> None:
        if name == "b":
            raise RequestError(429, "the server is busy; try again later")

    engine.computes, session = busy, Session()
    heard(desk, session, sent(desk, *"abc"))
    shown = viewed(desk, session)
    assert shown.messages.count("the server is busy") == 1 and "could not be used" not in shown.table
    assert json.loads(Path(shown.json or "").read_text())["failed"] == ["the server is busy; try again later"]


def test_chosen_clips_stay_chosen() -> None:
    session = Session(pair=("c", "gone"))
    assert session.kept(["a", "b", "c"]) == ["c", "a"]
    assert session.kept(["a"]) == ["a", None]
    assert Session().kept(["a", "b", "c"]) == ["a", "b"]
