"""What stands in front of requests: names, pages of other sites, tokens as browsers give them, and large bodies."""

from __future__ import annotations

import base64
import logging
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

pytest.importorskip("fastapi")
httpx = pytest.importorskip("httpx")

import uvicorn  # noqa: E402
from serve.running import wait_until  # noqa: E402
from starlette.applications import Starlette  # noqa: E402
from starlette.requests import Request  # noqa: E402
from starlette.responses import HTMLResponse, PlainTextResponse, Response  # noqa: E402
from starlette.routing import Mount, Route  # noqa: E402
from starlette.testclient import TestClient  # noqa: E402

from emotion2vec.serve.guard import Guard  # noqa: E402
from emotion2vec.serve.metrics import Metrics  # noqa: E402
from emotion2vec.serve.options import Limits, ServeOptions  # noqa: E402

FRAMED = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
LOADED = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}
OPENED = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


async def length(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def page(request: Request) -> Response:
    return HTMLResponse("<title>let in</title>")


def guarded(token: str = "", **options: object) -> Guard:
    """A guard before an application within another one, as the page is."""
    inner = Starlette(routes=[Route("/", page), Route("/length", length, methods=["POST"])])
    app = Starlette(routes=[Mount("/", inner)])
    return Guard(app, ServeOptions(**options), token, Metrics(), frozenset())  # type: ignore[arg-type]


@contextmanager
def served(guard: Guard) -> Iterator[str]:
    """The address of a server in a thread."""
    bound = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(guard, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield f"127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}, 200),
        ({**LOADED, "Sec-Fetch-Site": "same-origin"}, 200),
        (OPENED, 200),
        (FRAMED, 403),
        (LOADED, 403),
        ({**LOADED, "Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_pages_of_others_load_nothing(headers: dict[str, str], status: int) -> None:
    answer = TestClient(guarded(), base_url="http://127.0.0.1").get("/", headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-security-policy"] == "frame-ancestors 'self'"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("options", "token", "known", "unknown"),
    [
        ({}, "", ["localhost", "127.0.0.1:8000", "[::1]"], ["evil.example", "192.0.2.7", "own.example", ""]),
        ({}, "secret", ["localhost"], ["evil.example"]),
        ({"name": ("Own.example",)}, "", ["own.example"], ["evil.example"]),
        (
            {"host": "0.0.0.0", "name": ("own.example",)},
            "",
            ["localhost", "192.0.2.7:8000", "[2001:db8::1]", socket.gethostname(), "OWN.example:8000"],
            ["evil.example", "192.0.2.7.evil.example", "own.example.evil.example", ""],
        ),
        ({"host": "0.0.0.0"}, "secret", ["any.example"], []),
    ],
)
def test_no_site_of_others_can_pass_for_this_server(
    options: dict[str, object], token: str, known: list[str], unknown: list[str]
) -> None:
    client = TestClient(guarded(token, **options), base_url="http://127.0.0.1")
    bearer = {"Authorization": f"Bearer {token}"} if token else {}
    for name in known + unknown:
        answer = client.get("/", headers={"Host": name, "Origin": f"http://{name}"} | bearer)
        assert answer.status_code == (200 if name in known else 421), (name, answer.text)


def test_schemes_are_not_case_sensitive() -> None:
    client = TestClient(guarded("secret"), base_url="http://127.0.0.1")
    basic = base64.b64encode(b"x:secret").decode()
    for header in ("bearer secret", "BEARER  secret", f"basic {basic}", f"Basic {basic}"):
        assert client.get("/", headers={"Authorization": header}).status_code == 200, header
    refused = client.get("/", headers={"Authorization": "digest secret"})
    assert refused.headers.get_list("www-authenticate") == ["Bearer", 'Basic realm="emotion2vec"']


def test_bodies_that_are_too_large_get_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    guard = guarded(limits=Limits(max_mb=1))
    with served(guard) as address, httpx.Client(base_url=f"http://{address}", trust_env=False) as client:
        for size in (999_000, 1_001_000, 12_000_000):
            body = bytes(size)
            blocks = (body[begin : begin + 65_536] for begin in range(0, size, 65_536))
            for content in (body, blocks):  # with a length in its head and without
                answer = client.post("/length", content=content)
                expected = 200 if size < 1_000_000 else 413
                assert answer.status_code == expected, (size, answer.text)
                assert expected == 200 or "the body is larger than 1 MB" in answer.text
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_who_leaves_while_sending_fills_no_log(caplog: pytest.LogCaptureFixture) -> None:
    guard = guarded()
    with served(guard) as address:
        host, port = address.split(":")
        with socket.create_connection((host, int(port))) as client:
            client.sendall(f"POST /length HTTP/1.1\r\nHost: {address}\r\nContent-Length: 100\r\n\r\nshort".encode())
            time.sleep(0.2)
        with httpx.Client(base_url=f"http://{address}", trust_env=False) as other:
            assert other.get("/").status_code == 200
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.slow
@pytest.mark.browser
def test_a_browser_that_is_asked_for_the_password_is_let_in() -> None:
    pytest.importorskip("selenium")
    from selenium import webdriver

    driver = shutil.which("chromedriver")
    if driver is None or not (shutil.which("chromium") or shutil.which("google-chrome")):
        pytest.skip("needs Chromium and its chromedriver")
    options = webdriver.ChromeOptions()
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-proxy-server"):
        options.add_argument(word)
    with (
        served(guarded("a-secret")) as address,
        webdriver.Chrome(options=options, service=webdriver.ChromeService(driver)) as browser,
    ):
        browser.get(f"http://{address}/")
        assert browser.title != "let in"
        browser.get(f"http://x:a-secret@{address}/")
        assert browser.title == "let in"
