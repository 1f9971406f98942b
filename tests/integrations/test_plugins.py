"""Registration when another library is imported, with stand-ins for the library."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest

from emotion2vec import plugins

LIBRARY = "awaited_library"


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A library with a registry, and a module of ours that fills it; both can be imported."""
    (tmp_path / f"{LIBRARY}.py").write_text("registry = ['its own']\n")
    (tmp_path / "our_register.py").write_text(
        "def register(module): module.registry.append('ours')\ndef broken(module): raise ValueError('too old')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(plugins, "AWAITED", {LIBRARY: ("our_register", "register")})
    monkeypatch.setattr(sys, "meta_path", [f for f in sys.meta_path if not isinstance(f, plugins._Announcer)])
    yield tmp_path
    for name in (LIBRARY, "our_register"):
        sys.modules.pop(name, None)


def test_we_come_first(library: Path) -> None:
    plugins.install()
    assert "our_register" not in sys.modules
    module = importlib.import_module(LIBRARY)
    assert module.registry == ["its own", "ours"]
    assert isinstance(module.__loader__, SourceFileLoader)


def test_the_library_comes_first(library: Path) -> None:
    module = importlib.import_module(LIBRARY)
    plugins.install()
    assert module.registry == ["its own", "ours"]


def test_installing_twice_registers_once(library: Path) -> None:
    plugins.install()
    plugins.install()
    assert importlib.import_module(LIBRARY).registry == ["its own", "ours"]


def test_a_failure_of_ours_does_not_stop_the_other_import(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "AWAITED", {LIBRARY: ("our_register", "broken")})
    plugins.install()
    with pytest.warns(UserWarning, match="could not be registered in awaited_library: too old"):
        assert importlib.import_module(LIBRARY).registry == ["its own"]


def test_a_library_that_is_not_there_stays_missing(library: Path) -> None:
    (library / f"{LIBRARY}.py").unlink()
    importlib.invalidate_caches()
    plugins.install()
    with warnings.catch_warnings(), pytest.raises(ModuleNotFoundError):
        importlib.import_module(LIBRARY)


def test_every_registration_exists() -> None:
    root = Path(plugins.__file__).parent.parent
    for home, function in plugins.AWAITED.values():
        assert f"def {function}(" in (root / (home.replace(".", "/") + ".py")).read_text()
