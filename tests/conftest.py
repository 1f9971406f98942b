from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Tests are many and small: threads inside an operation only get in each other's way. Set before anything imports torch.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
# A test must not behave differently because a developer is logged in to a tracker.
os.environ["WANDB_MODE"] = "disabled"
# Read when Gradio is imported, which tests may do before a page does.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import numpy as np  # noqa: E402 (after the variables that it reads)
import soundfile  # noqa: E402

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
# What this processor was measured to be fast at; the processes of a test must all find the same.
os.environ.setdefault("EMOTION2VEC_CACHE", str(ROOT / ".pytest_cache" / "emotion2vec"))


POSIX = re.compile(
    r"os\.(fork|killpg|mkfifo|geteuid|setsid|umask|chmod)|symlink_to|\.chmod\(|/proc/|/dev/|SIG(KILL|HUP|QUIT|TERM)"
    r"|send_signal|start_child|resource\.|start_new_session|preexec_fn|\[\"(ba)?sh\", \"-"
)
"""What a test does that Windows has not."""


def needs_posix(source: str) -> bool:
    """Whether a test's source does what only POSIX can."""
    return POSIX.search(source) is not None


def sources(used: Any, seen: set[Any]) -> Iterator[str]:
    """Sources of a function or class of the tests, and of those that it uses."""
    file = getattr(sys.modules.get(used.__module__), "__file__", None) or ""
    if used in seen or not file.startswith(str(TESTS)):
        return
    seen.add(used)
    yield inspect.getsource(used)
    for function in filter(inspect.isfunction, vars(used).values() if inspect.isclass(used) else [used]):
        for name in function.__code__.co_names:
            found = function.__globals__.get(name)
            if inspect.isfunction(found) or inspect.isclass(found):
                yield from sources(found, seen)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """On Windows skip tests of what is not there."""
    for item in items if sys.platform == "win32" else []:
        if isinstance(item, pytest.Function):
            fixtures = [known[-1].func for known in item._fixtureinfo.name2fixturedefs.values()]
            if any(needs_posix(source) for used in (item.function, *fixtures) for source in sources(used, set())):
                item.add_marker(pytest.mark.skip(reason="does what only POSIX can"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--draw", default="", help="any text: another draw of what tests damage at random")


@pytest.fixture(scope="session")
def draw(request: pytest.FixtureRequest) -> str:
    """Which draw it is of what is damaged at random."""
    return str(request.config.getoption("draw"))


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real speech and golden tensors, which lie beside the checkout and are not part of it."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("needs the folder ../shared (real speech, golden tensors) beside the checkout; it is not there")
    return folder


@pytest.fixture(scope="session")
def sample_speech() -> Path:
    """The synthetic corpus that ships with the project."""
    return ROOT / "examples" / "sample_speech"


@pytest.fixture(params=["plain", "onednn"])
def products(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each library in turn for products on a CPU, whatever is the faster one here."""
    monkeypatch.setenv("EMOTION2VEC_PRODUCTS", request.param)
    return str(request.param)


@pytest.fixture
def write_audio(tmp_path: Path) -> Callable[..., Path]:
    """Write noise: write_audio("a/b.wav", seconds, rate, channels, seed); the folder is made."""

    def write(name: str, seconds: float = 0.5, rate: int = 16_000, channels: int = 1, seed: int = 0) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = np.random.default_rng(seed).normal(0, 0.1, (round(seconds * rate), channels))
        opus = {"format": "OGG", "subtype": "OPUS"} if path.suffix == ".opus" else {}
        soundfile.write(path, samples, rate, **opus)
        return path

    return write


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ten clips of 0.6 to 1.5 s: tones under noise, all different."""
    folder = tmp_path_factory.mktemp("speech")
    rng = np.random.default_rng(0)
    for number in range(10):
        samples = rng.integers(9_600, 24_000)
        tone = np.sin(2 * np.pi * (100 + 40 * number) * np.arange(samples) / 16_000)
        soundfile.write(folder / f"clip{number}.wav", 0.3 * tone + 0.05 * rng.normal(size=samples), 16_000)
    return folder
