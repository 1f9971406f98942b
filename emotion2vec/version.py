"""Versions of the package, of its clone, and of the libraries that it runs with."""

from __future__ import annotations

from functools import cache

__version__ = "0.1.0"

PROBED_WITH = ("numpy", "torch", "sklearn", "soundfile", "soxr")
"""Libraries that the numbers of a probe depend on."""
TRAINED_WITH = ("torch", "lightning", "lhotse", "numpy", "soundfile", "soxr")
"""Libraries that the numbers of a run depend on."""


def versions(*libraries: str) -> dict[str, str | None]:
    """Versions of Python, of the package and of libraries, by name; None of a library that is not installed."""
    import platform

    found: dict[str, str | None] = {"python": platform.python_version(), "emotion2vec": __version__}
    return found | {name: library_version(name) for name in libraries}


@cache
def library_version(name: str) -> str | None:
    """Version of a library, by the name that it is imported under; None where it is not installed.

    It is imported only where it was installed under another name, as builds for other hardware are.
    """
    from importlib import import_module, metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        try:
            return str(import_module(name).__version__)
        except ImportError:
            return None


def git_commit() -> str | None:
    """The commit of the clone that the package runs from; None where it is no clone, or git is not there."""
    import subprocess
    from pathlib import Path

    clone = Path(__file__).resolve().parents[1]
    if not (clone / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(clone), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
