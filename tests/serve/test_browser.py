"""The page in a real browser: what people do with it, what they see, and that nothing is asked of another machine."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("gradio")
pytest.importorskip("selenium")

from selenium.webdriver import ActionChains
from selenium.webdriver.common.keys import Keys
from serve.browsing import PHONE, Page, brightness, browser, contrast, fits, program
from serve.running import Running, running, wait_until
from signals import start_child

from emotion2vec.serve.options import Limits, ServeOptions

pytestmark = [pytest.mark.slow, pytest.mark.browser]


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    program("chromium", "chromium-browser", "google-chrome")
    program("chromedriver")
    limits = Limits(max_seconds=4000, max_mb=300, timeout=900, decode_seconds=120, queue_mb=2000)
    with running(ServeOptions(model=("compact", "tiny"), page=True, decoders=1, limits=limits)) as one:
        yield one


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, sample_speech: Path) -> Path:
    """Clips: two of synthetic speech, and bad ones."""
    made = tmp_path_factory.mktemp("clips")
    for number, name in enumerate(("en1_angry_1", "de1_fearful_1")):
        samples, rate = soundfile.read(sample_speech / f"{name}.opus")
        soundfile.write(made / f"{'ab'[number]}.wav", samples, rate)
    noise = np.random.default_rng(0).normal(size=16_000).astype(np.float32) * 0.1
    soundfile.write(made / "silence.wav", np.zeros(32_000), 16_000)
    soundfile.write(made / "short.wav", noise[:800], 16_000)
    (made / "text.wav").write_text("this is a text and no sound\n" * 30)
    return made


@pytest.fixture
def browse(server: Running, folder: Path) -> Iterator[Callable[..., Page]]:
    """Open the page, as wide as asked, dark or not, with a microphone or without."""
    with ExitStack() as stack:

        def opened(width: int = 1200, dark: bool = False, microphone: str = "", url: str = "") -> Page:
            driver = browser(folder / "a.wav", microphone)
            stack.callback(driver.quit)
            size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            if dark:
                feature = {"name": "prefers-color-scheme", "value": "dark"}
                driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
            if microphone == "refused":
                wanted = {"permission": {"name": "microphone"}, "setting": "denied", "origin": server.url}
                driver.execute_cdp_cmd("Browser.setPermission", wanted)
            return Page(driver, url or server.url, width)

        yield opened


def test_a_clip_over_time_with_mouse_and_keys(browse: Callable[..., Page], folder: Path, server: Running) -> None:
    page = browse()
    page.open(folder / "a.wav")
    page.wait_for("emotion-timeline")
    assert "a.wav" in page.text("#ev-card h2") and "%" in page.text(".ev-lead")
    assert "Read as WAV audio" in page.text(".ev-done")
    plot, over = page.all(".ev-plot")[0], page.all(".ev-over")[0]
    seconds = float(plot.get_attribute("aria-valuemax"))
    panel = json.loads(page.all("emotion-timeline")[0].get_attribute("data-facts"))["panels"][0]
    middle = next(place for place in range(len(panel["rows"])) if panel["edges"][place + 1] > seconds / 2)
    ActionChains(page.driver).move_to_element(over).perform()
    label = panel["labels"][panel["best"][middle]]
    assert page.text(".ev-readout") == f"{seconds / 2:.1f} s: {label} {panel['rows'][middle][panel['best'][middle]]}"
    values = page.texts(".ev-lane:not(.ev-wave):not(.ev-best):not(.ev-axis) > .ev-value")
    assert values == panel["rows"][middle]
    page.picture("page")
    ActionChains(page.driver).move_to_element(over).click().perform()
    audio = "return document.querySelector('emotion-timeline audio')"
    wait_until(lambda: page.run(f"{audio}.currentTime") > seconds / 2, 20)
    wait_until(lambda: page.text(".ev-play") == "Play", 30)  # it ended
    plot.send_keys(Keys.HOME)
    assert plot.get_attribute("aria-valuenow") == "0.00"
    plot.send_keys(Keys.ARROW_RIGHT)
    assert float(plot.get_attribute("aria-valuenow")) == pytest.approx(panel["edges"][1], abs=0.01)
    assert panel["labels"][panel["best"][1]] in plot.get_attribute("aria-valuetext")
    plot.send_keys(Keys.SPACE)
    wait_until(lambda: page.text(".ev-play") == "Pause", 20)
    plot.send_keys(Keys.SPACE)
    plot.send_keys(Keys.END)
    assert float(plot.get_attribute("aria-valuenow")) == pytest.approx(seconds, abs=0.01)
    assert not [url for url in page.asked() if not url.startswith((f"{server.url}/", "data:", "blob:"))]


def test_several_files_and_a_comparison(browse: Callable[..., Page], folder: Path) -> None:
    page = browse()
    page.open(*(folder / name for name in ("a.wav", "b.wav", "silence.wav", "short.wav", "text.wav")))
    page.wait_for(".ev-clips")
    assert len(page.all(".ev-clips button")) == 4
    assert "text.wav: cannot be decoded: it is text, expected audio or video." in page.text(".ev-failed")
    page.picture("page_several")
    for name, sentence in (("silence.wav", "is silent"), ("short.wav", "50 ms of sound"), ("b.wav", "")):
        page.press(name, "#ev-table")
        wait_until(lambda name=name: page.text("#ev-card h2") == name)
        assert sentence in page.text("#ev-card .ev-note")
        assert page.text(".ev-chosen button") == name
    for kind in ("csv", "json"):
        (link,) = page.all(f"#ev-{kind}")
        assert link.is_displayed()
    page.press("Compare two clips")
    page.wait_for(".ev-map")
    assert "Cosine" in page.text("#ev-compared .ev-lead") and len(page.all(".ev-clip")) == 2
    page.picture("page_compared")
    assert "Traceback" not in page.driver.page_source


def test_a_wrong_file_alone(browse: Callable[..., Page], folder: Path) -> None:
    page = browse()
    page.open(folder / "text.wav")
    alert = page.wait_for(".ev-alert")
    assert alert.text == "text.wav: cannot be decoded: it is text, expected audio or video."
    assert alert.get_attribute("role") == "alert" and not page.all("emotion-timeline")
    page.picture("page_wrong")


def test_the_microphone(browse: Callable[..., Page]) -> None:
    page = browse(microphone="there")
    for number in (1, 2):
        wait_until(lambda: "Record" in page.texts("#ev-microphone button"))
        page.press("Record", "#ev-microphone")
        time.sleep(2)
        page.press("Stop", "#ev-microphone")
        wait_until(lambda number=number: f"Recording {number}" in page.text("#ev-table, #ev-card"))
        page.wait_for("emotion-timeline")
        if number == 1:
            assert "silent" not in page.text("#ev-card") and "Read as WAV audio" in page.text(".ev-done")
            page.picture("page_recorded")
            page.all("#ev-microphone button[aria-label=Clear]")[0].click()
    assert len(page.all(".ev-clips button")) == 2
    page.press("Forget recordings")
    wait_until(lambda: not page.all("emotion-timeline, .ev-clips"))


def test_a_microphone_that_is_refused(browse: Callable[..., Page]) -> None:
    page = browse(microphone="refused")
    page.press("Record", "#ev-microphone")
    alert = page.wait_for("#ev-refused")
    assert "The microphone was refused: allow it for this page" in alert.text
    assert alert.is_displayed() and alert.size["height"] > 10
    page.picture("page_refused")


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_and_the_dark(dark: bool, browse: Callable[..., Page], folder: Path) -> None:
    page = browse(width=PHONE, dark=dark)
    assert fits(page)
    page.open(folder / "a.wav", folder / "b.wav", folder / "text.wav")
    page.wait_for("emotion-timeline")
    assert fits(page)
    assert page.run("return document.body.classList.contains('dark')") == dark
    assert (brightness(page.run("return getComputedStyle(document.body).backgroundColor")) < 0.2) == dark
    for css in (".ev-lead", ".ev-hint", ".ev-done", ".ev-clips button", ".ev-failed td", ".ev-head p", ".ev-play"):
        assert contrast(page, css) >= 4.5, css  # WCAG 2, AA
    page.picture("page_phone_dark" if dark else "page_phone")
    page.press("Compare two clips")
    page.wait_for(".ev-map")
    assert fits(page)


def test_every_control_has_a_name_and_is_reached_by_keys(browse: Callable[..., Page], folder: Path) -> None:
    page = browse()
    page.open(folder / "a.wav", folder / "b.wav")
    page.wait_for("emotion-timeline")
    tree = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = {"button", "slider", "combobox", "checkbox", "tab", "link", "textbox"}
    shown = [one for one in tree if one.get("role", {}).get("value") in roles and not one["ignored"]]
    nameless = [one for one in shown if not one.get("name", {}).get("value")]
    assert len(shown) > 10 and not nameless, nameless
    reached = set()
    for _ in range(60):
        ActionChains(page.driver).send_keys(Keys.TAB).perform()
        reached.add(
            page.run("const one = document.activeElement; return one.className + ' ' + (one.dataset.key || '')")
        )
    assert any("ev-plot" in one for one in reached) and any("ev-play" in one for one in reached)
    keys = {one.get_attribute("data-key") for one in page.all(".ev-clips button")}
    assert keys and all(any(key in one for one in reached) for key in keys)


def test_a_model_without_a_head_in_the_browser(browse: Callable[..., Page], folder: Path) -> None:
    page = browse()
    page.open(folder / "a.wav", folder / "b.wav")
    page.wait_for("emotion-timeline")
    page.all("#ev-model input")[0].click()
    (option,) = (one for one in page.all("[role=option]") if one.text.strip().endswith("tiny"))
    option.click()
    wait_until(lambda: "tiny has no head" in page.text("#ev-messages"))
    page.wait_for("emotion-timeline")
    assert not page.all(".ev-best") and page.all(".ev-wave")
    assert page.all("#ev-features")[0].is_displayed() and not any(one.is_displayed() for one in page.all("#ev-csv"))


def test_the_verb_from_its_start_to_its_end(browse: Callable[..., Page], folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    words = [sys.executable, "-m", "emotion2vec", "demo", "--no-browser", "--port", str(port)]
    with log.open("w") as stream:
        child = start_child(words, stderr=stream, env={**os.environ, "TMPDIR": str(tmp_path)})
    try:
        wait_until(lambda: child.poll() is not None or "serving compact on " in log.read_text())
        assert f"port {port} is in use, so the page is on port " in log.read_text()
        page = browse(url=log.read_text().split()[-1])
        page.open(folder / "a.wav")
        page.wait_for("emotion-timeline")
        assert list(tmp_path.rglob("*.wav"))
        began = time.monotonic()
        child.terminate()  # with the page open, which keeps a connection
        assert child.wait(60) == 0 and log.read_text().endswith("stopped\n")
        assert time.monotonic() - began < 30 and not list(tmp_path.rglob("*.wav"))
    finally:
        taken.close()
        child.kill()
        child.wait()


def test_an_hour_and_a_video(browse: Callable[..., Page], folder: Path, tmp_path: Path) -> None:
    page = browse()
    samples, rate = soundfile.read(folder / "a.wav", dtype="float32")
    hour = np.resize(samples, 3600 * rate)
    soundfile.write(tmp_path / "hour.flac", hour, rate)
    page.open(tmp_path / "hour.flac")
    wait_until(lambda: "Asking compact about 60 min of sound" in page.text("#ev-status"))
    page.wait_for("emotion-timeline", 900)
    assert "Cut into windows of 30 s" in page.text(".ev-done")
    assert "60 min" in page.text(".ev-done") and page.all(".ev-details summary")[0].text.startswith("Windows of 30")
    page.picture("page_hour")
    if (ffmpeg := shutil.which("ffmpeg")) is not None:
        made = ["-f", "lavfi", "-i", "color=size=64x64:duration=1", "-i", folder / "a.wav", tmp_path / "film.mp4"]
        subprocess.run([ffmpeg, "-v", "error", *map(str, made)], check=True)
        page.open(tmp_path / "film.mp4")
        wait_until(lambda: "film.mp4" in page.text("#ev-table"), 120)
