from __future__ import annotations

import os
from pathlib import Path

import pytest

# Tests are many and small: threads inside an operation only get in each other's way. Set before anything imports torch.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
# A test must not behave differently because a developer is logged in to a tracker.
os.environ["WANDB_MODE"] = "disabled"

ROOT = Path(__file__).resolve().parents[1]
# What this processor was measured to be fast at; the processes of a test must all find the same.
os.environ.setdefault("EMOTION2VEC_CACHE", str(ROOT / ".pytest_cache" / "emotion2vec"))


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
