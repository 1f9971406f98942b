from __future__ import annotations

import platform
import sys
from pathlib import Path

import numpy as np
import pytest

import emotion2vec
from emotion2vec.version import git_commit, library_version, versions


def test_versions_of_us_and_of_libraries() -> None:
    found = versions("numpy", "sklearn", "no_such_library")
    assert list(found) == ["python", "emotion2vec", "numpy", "sklearn", "no_such_library"]
    assert found["python"] == platform.python_version() and found["emotion2vec"] == emotion2vec.__version__
    assert found["numpy"] == np.__version__ and found["no_such_library"] is None
    assert found["sklearn"] == sys.modules["sklearn"].__version__  # installed as scikit-learn


def test_a_library_that_was_installed_under_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runtime_of_a_gpu.py").write_text("__version__ = '1.2'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert library_version("runtime_of_a_gpu") == "1.2"


def test_the_commit_is_that_of_the_clone() -> None:
    commit, clone = git_commit(), Path(emotion2vec.__file__).parents[1]
    assert (commit is not None and len(commit) == 40) if (clone / ".git").exists() else commit is None
