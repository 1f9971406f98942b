"""Our upstreams in S3PRL's hub, with a stand-in for S3PRL; `make test-interop` has the real one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from emotion2vec.integrations import s3prl


def test_one_line_enters_our_upstreams_into_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "s3prl").mkdir()
    (tmp_path / "s3prl" / "__init__.py").touch()
    (tmp_path / "s3prl" / "hub.py").write_text("def wav2vec2(): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("s3prl", "s3prl.hub"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    s3prl.register()
    s3prl.register()
    hub = sys.modules["s3prl.hub"]
    assert {name for name in vars(hub) if not name.startswith("_")} == {"wav2vec2", "emotion2vec", "emotion2vec_custom"}
    assert hub.emotion2vec_custom("tiny").get_downsample_rates() == 320


def test_the_runner_says_how_s3prl_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    command = [sys.executable, "-m", "emotion2vec.integrations.s3prl"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "install S3PRL with: pip install s3prl" in done.stderr
