"""A browser with the page open in it."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from selenium.common.exceptions import SessionNotCreatedException
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from serve.running import wait_until

PICTURES = os.environ.get("EMOTION2VEC_PAGE_PICTURES")
"""A folder that pictures of the page are written to; none where it is not set."""

PHONE = 390
"""Width of a phone, in CSS pixels."""


def program(*names: str) -> str:
    """The first of some programs that there is, or the test is skipped."""
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"needs a browser: none of {', '.join(names)} is installed")
    return found


def browser(sound: Path, microphone: str) -> Chrome:
    """A browser whose microphone is `there` and hears a file, `refused`, or none where it is empty."""
    options = ChromeOptions()
    options.binary_location = program("chromium", "chromium-browser", "google-chrome")
    for word in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "hide-scrollbars", "lang=en", "mute-audio"):
        options.add_argument(f"--{word}")
    if microphone:
        options.add_argument("--use-fake-device-for-media-stream")
        options.add_argument(f"--use-file-for-fake-audio-capture={sound}")
        options.add_argument(f"--use-fake-ui-for-media-stream{'=deny' * (microphone == 'refused')}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    try:
        return Chrome(options=options, service=Service(program("chromedriver")))
    except SessionNotCreatedException as error:
        if "version" not in str(error):
            raise
        pytest.skip(f"needs a chromedriver of the browser's version: {error.msg}")


class Page:
    """The page in a browser."""

    def __init__(self, driver: Any, url: str, width: int):
        self.driver, self.width = driver, width
        driver.get(url)
        wait_until(lambda: bool(self.all("#ev-files input[type=file]")))
        time.sleep(0.5)

    def all(self, css: str) -> list[Any]:
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def text(self, css: str) -> str:
        """What is read there, at one moment: Gradio replaces elements at any time."""
        return " ".join(self.texts(css))

    def texts(self, css: str) -> list[str]:
        """The same of each element."""
        script = """
        const found = [...document.querySelectorAll(arguments[0])];
        return found.map(one => one.checkVisibility() ? one.innerText.trim() : '');
        """
        found: list[str] = self.run(script, css)
        return found

    def run(self, script: str, *given: Any) -> Any:
        return self.driver.execute_script(script, *given)

    def open(self, *files: Path) -> None:
        self.all("#ev-files input[type=file]")[0].send_keys("\n".join(str(file.resolve()) for file in files))

    def wait_for(self, css: str, seconds: float = 60) -> Any:
        wait_until(lambda: bool(self.all(css)) and not self.all(".ev-busy"), seconds)
        time.sleep(0.5)
        return self.all(css)[0]

    def press(self, text: str, within: str = "") -> None:
        (found,) = (one for one in self.all(f"{within} button") if one.text == text and one.is_displayed())
        found.click()

    def picture(self, name: str) -> None:
        """Write a picture of all of the page, where that is asked for."""
        if PICTURES is None:
            return
        height = self.run("return document.querySelector('.ev-foot').getBoundingClientRect().bottom + scrollY + 20")
        size = {"width": self.width, "height": int(height), "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        time.sleep(0.5)
        self.driver.save_screenshot(str(Path(PICTURES, f"{name}.png")))

    def asked(self) -> set[str]:
        """Addresses that the browser has asked for."""
        messages = [json.loads(one["message"])["message"] for one in self.driver.get_log("performance")]
        names = {"Network.requestWillBeSent": "request", "Network.webSocketCreated": ""}
        found = [one["params"] for one in messages if one["method"] in names]
        return {one.get("request", one)["url"] for one in found}


def brightness(colour: str) -> float:
    """How bright a colour of CSS is, from 0 to 1; that of sRGB, WCAG 2."""
    parts = [float(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def contrast(page: Page, css: str) -> float:
    """Contrast of text with what is behind it (WCAG 2)."""
    script = """
    let behind = arguments[0], colour = '';
    const text = getComputedStyle(behind).color;
    while (behind && !colour.startsWith('rgb(')) {
      colour = getComputedStyle(behind).backgroundColor;
      behind = behind.parentElement;
    }
    return [text, colour];
    """
    light, dark = sorted(map(brightness, page.run(script, page.all(css)[0])), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def fits(page: Page) -> bool:
    """Whether the page is no wider than its window."""
    return page.run("return document.documentElement.scrollWidth <= window.innerWidth")
