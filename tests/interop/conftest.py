from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

PEERS = Path(__file__).parent / "peers"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def peer(root: Path) -> Run:
    """Run a script of `peers/` with the Python of one tool's own environment, which `make test-interop` makes."""

    def run(tool: str, script: str, *arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        python = os.environ.get(f"INTEROP_{tool.upper()}", str(root / f".venv-interop-{tool}" / "bin" / "python"))
        if not Path(python).exists():
            pytest.skip(f"needs {tool} in an environment of its own; `make test-interop` makes it")
        environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        command = [python, str(PEERS / script), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
        return done

    return run


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of different length, 16 kHz, not normalized."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("clips") / "clips.npz"
    np.savez(path, a=rng.standard_normal(24_000).astype(np.float32), b=rng.standard_normal(17_123).astype(np.float32))
    return path
