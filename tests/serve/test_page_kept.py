"""What a page keeps, and for how long: clips on the shelf, uploads, and its folder."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gradio")

from serve.pretending import Engine, desk_in, heard, sent, viewed
from serve.running import wait_until

from emotion2vec.owners import this_owner
from emotion2vec.serve.engine import Clip
from emotion2vec.serve.page import uploads as files_of_page
from emotion2vec.serve.page.desk import Desk
from emotion2vec.serve.page.mount import PREFIX, UPLOAD, Door, mount
from emotion2vec.serve.page.session import Session
from emotion2vec.serve.page.shelf import Shelf


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return desk_in(tmp_path, Engine())


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
            list(pool.map(lambda n: shelf.put(Clip(str(n), np.ones(100, np.float32), ())), range(300)))
    finally:
        done.set()
        sys.setswitchinterval(switch)
    for thread in threads:
        thread.join()
    left = [path.stem for path in tmp_path.iterdir()]
    assert not failed and len(left) == 40 and all(shelf.get(key) for key in left)


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
