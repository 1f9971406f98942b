"""What a page keeps, and for how long: sessions, the desk and the shelf, with an engine that only pretends."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gradio")

from serve.running import wait_until

from emotion2vec.owners import this_owner
from emotion2vec.serve.engine import Clip
from emotion2vec.serve.errors import RequestError
from emotion2vec.serve.options import Limits
from emotion2vec.serve.page import uploads as files_of_page
from emotion2vec.serve.page.desk import Asked, Desk
from emotion2vec.serve.page.mount import PREFIX, UPLOAD, Door, mount
from emotion2vec.serve.page.session import Session, newest
from emotion2vec.serve.page.shelf import Shelf
from emotion2vec.serve.page.uploads import Uploads
from emotion2vec.serve.page.views import View, view_of

CLIP = Clip("a.wav", np.full(16_000, 0.1, np.float32), (), {"kind": "WAV", "rate": 16_000, "channels": 1})


class Engine:
    """Answers what it is told to: `hears` files and `computes` clips."""

    def __init__(self, **limits: float):
        self.limits = Limits(**limits)  # type: ignore[arg-type]
        self.hears: Callable[[str], Clip] = lambda name: Clip(name, CLIP.samples, (), CLIP.origin)
        self.computes: Callable[[str], None] = lambda name: None
        self.asked: list[dict[str, Any]] = []
        self.slow = 0.0
        heads = {"": {"labels": ["anger", "joy"], "values": False}}
        self.facts = {"name": "m", "heads": heads, "normalizes": False, "longest": None, "parameters": 1}
        self.facts |= {"precision": "fp32", "device": "cpu"}

    def model(self, _: str) -> dict[str, Any]:
        return self.facts

    @contextmanager
    def admitted(self) -> Iterator[Any]:
        yield SimpleNamespace(hold=lambda count: None)

    async def decode(self, name: str, body: bytes, **_: Any) -> Clip:
        await asyncio.sleep(self.slow)
        return self.hears(name)

    async def compute(self, model: str, clip: Clip, what: dict[str, Any]) -> Any:
        self.asked.append(what)
        self.computes(clip.name)
        rows = 1 if what["window"] is None else int(np.ceil(clip.seconds / what["window"]))
        scores = np.tile([0.7, 0.3], (rows, 1))
        more = {"whole:": scores[:1]} if what.get("whole") else {}
        return {"window": what["window"]}, {"": scores, **more}


@pytest.fixture
def engine() -> Engine:
    return Engine(max_files=3, timeout=0.2)


@pytest.fixture
def desk(engine: Engine, tmp_path: Path) -> Desk:
    for name in ("clips", "gradio"):
        (tmp_path / name).mkdir()
    shelf = Shelf(tmp_path / "clips")
    return Desk(engine, shelf, Uploads(tmp_path / "gradio", 1000.0, shelf))  # type: ignore[arg-type]


def sent(desk: Desk, *names: str) -> list[str]:
    """Files that were uploaded."""
    paths = [desk.uploads.folder / name for name in names]
    for path in paths:
        path.write_bytes(b"x" * 100)
    return [str(path) for path in paths]


def heard(desk: Desk, session: Session, paths: list[str]) -> list[str]:
    """Names of files that were heard now."""

    async def all_of_them() -> list[str]:
        return [name async for name in desk.hear(session, paths, Asked("m"))]

    return asyncio.run(all_of_them())


def viewed(desk: Desk, session: Session, asked: Asked | None = None) -> View:
    return asyncio.run(view_of(desk, session, asked or Asked("m")))


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
            async for update in newest(session, work(name, started, waits)):
                said.append(update)

        began = asyncio.Event()
        old = asyncio.create_task(event("old", began, never))
        await began.wait()
        await event("new", asyncio.Event(), go)
        await asyncio.wait_for(old, 5)
        return said

    assert asyncio.run(both()) == ["old begins", "new begins", "new ends"]
    assert stopped == ["old"]


def test_what_goes_wrong_with_the_newest_event_is_raised() -> None:
    async def broken() -> AsyncIterator[str]:
        yield "begins"
        raise ValueError("no")

    async def event() -> None:
        async for _ in newest(Session(), broken()):
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


def test_files_to_download_give_way_to_newer_ones(desk: Desk) -> None:
    session = Session()
    heard(desk, session, sent(desk, *"ab"))
    first = viewed(desk, session)
    second = viewed(desk, session)
    assert first.csv and second.csv and not Path(first.csv).exists()
    assert {path.name for path in Path(second.csv).parent.iterdir()} == {"emotions.csv", "emotions.json"}
    desk.uploads.sweep(age=-1)
    assert Path(second.csv).exists()
    folders = [path for path in desk.uploads.folder.iterdir() if path.is_dir()]
    assert folders == [Path(second.csv).parent]


def test_chosen_clips_stay_chosen() -> None:
    session = Session(pair=("c", "gone"))
    assert session.kept(["a", "b", "c"]) == ["c", "a"]
    assert session.kept(["a"]) == ["a", None]
    assert Session().kept(["a", "b", "c"]) == ["a", "b"]


def test_threads_share_a_shelf(tmp_path: Path) -> None:
    shelf, failed, done = Shelf(tmp_path, most=40 * 400), list[Exception](), threading.Event()
    shelf.put(Clip("first", np.ones(100, np.float32), ()))

    def look() -> None:
        while not done.is_set():
            try:
                for key in [path.stem for path in tmp_path.iterdir()]:
                    shelf.get(key)
            except Exception as error:
                failed.append(error)

    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=look) for _ in range(2)]
        for thread in threads:
            thread.start()
        with ThreadPoolExecutor(8) as pool:
            put = list(pool.map(lambda n: shelf.put(Clip(str(n), np.ones(100, np.float32), ())), range(300)))
    finally:
        done.set()
        sys.setswitchinterval(switch)
    for thread in threads:
        thread.join()
    left = [one for one in put if shelf.get(one.key) is not None]
    assert not failed and len(left) == 40 and len(list(tmp_path.iterdir())) == 40


def test_a_shelf_has_so_many_clips_and_half_of_what_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = Shelf(tmp_path, clips=2)
    for name in "abc":
        few.put(Clip(name, np.ones(10, np.float32), ()))
    assert len(list(tmp_path.iterdir())) == 2
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=2 * 4 * 1500))
    small = Shelf(tmp_path)
    first = small.put(Clip("first", np.ones(1000, np.float32), ()))
    small.put(Clip("second", np.ones(1000, np.float32), ()))
    assert small.get(first.key) is None


def test_forgetting_removes_upload_and_clip(desk: Desk) -> None:
    session, (mine, other) = Session(), sent(desk, "mine.wav", "other.wav")
    heard(desk, session, [*session.recordings(mine), other])
    (recorded, _) = desk.clips(session)
    session.recorded.clear()
    desk.forget(session, [mine])
    assert not Path(mine).exists() and not recorded.path.exists() and desk.shelf.get(recorded.key) is None
    assert Path(other).exists() and [one.name for one in desk.clips(session)] == ["other.wav"]


def test_what_no_page_names_goes(desk: Desk) -> None:
    session, (kept, gone) = Session(), sent(desk, "kept.wav", "gone.wav")
    heard(desk, session, [kept, gone])
    (one, other) = desk.clips(session)
    heard(desk, session, [kept])
    desk.uploads.sweep()
    assert Path(gone).exists()  # as it may be one that is about to be named
    desk.uploads.sweep(age=-1)
    assert Path(kept).exists() and one.path.exists()
    assert not Path(gone).exists() and not other.path.exists()
    del session
    desk.uploads.sweep(age=-1)
    assert not Path(kept).exists() and not one.path.exists()


def test_uploads_are_refused_where_there_is_no_room(desk: Desk) -> None:
    passed: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        passed.append(1)

    def upload(size: int) -> dict[str, Any]:
        said: list[dict[str, Any]] = []

        async def send(message: Any) -> None:
            said.append(dict(message))

        headers = [(b"content-length", str(size).encode())]
        scope = {"type": "http", "path": UPLOAD, "method": "POST", "headers": headers}
        asyncio.run(Door(app, desk.uploads, 10)(scope, None, send))  # type: ignore[arg-type]
        return said[0] if said else {"status": 200}

    assert upload(1001)["status"] == 413 and not passed
    assert upload(1000)["status"] == 200 and passed
    sent(desk, "a")
    refused = upload(901)
    assert refused["status"] == 429 and b"retry-after" in dict(refused["headers"])
    assert upload(900)["status"] == 200 and len(passed) == 2
    os.utime(desk.uploads.folder / "a", (0, 0))  # so that it gives way
    assert upload(901)["status"] == 200


def test_folders_of_killed_programs_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    machine = this_owner().rpartition(".")[0]
    dead, mine, other = (tmp_path / f"{PREFIX}{owner}-abc_1234" for owner in
                         (f"{machine}.{child.pid}", this_owner(), "elsewhere.1"))  # fmt: skip
    for folder in (dead, mine, other):
        (folder / "clips").mkdir(parents=True)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("emotion2vec.serve.page.mount._mounted", lambda *_: lambda: None)
    monkeypatch.setattr(files_of_page, "PERIOD", 0.02)
    monkeypatch.setenv("GRADIO_TEMP_DIR", "before")
    with mount(None, Engine()):  # type: ignore[arg-type]
        (made,) = set(tmp_path.iterdir()) - {mine, other}
        assert made.name.startswith(f"{PREFIX}{this_owner()}-")
        assert os.environ["GRADIO_TEMP_DIR"] == str(made / "gradio")
        os.utime(made, (0, 0))
        wait_until(lambda: made.stat().st_mtime > 0, 5)  # so that other machines do not take it for a leftover
    assert set(tmp_path.iterdir()) == {mine, other} and os.environ["GRADIO_TEMP_DIR"] == "before"
