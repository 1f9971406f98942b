"""The version of the package, and of the libraries that its numbers depend on."""

from __future__ import annotations

__version__ = "0.1.0"

LIBRARIES = ("numpy", "torch", "sklearn", "soundfile", "soxr")


def library_versions() -> dict[str, str]:
    """Versions of Python, of the package and of the libraries that scores depend on."""
    import platform
    from importlib import import_module

    found = {"python": platform.python_version(), "emotion2vec": __version__}
    return found | {name: str(import_module(name).__version__) for name in LIBRARIES}
