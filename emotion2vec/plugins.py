"""Tell other libraries of our classes at the moment when they are imported, and not before.

`import emotion2vec` must not import transformers, and `transformers.AutoModel` must know our models after it, whichever
of the two came first. So a finder waits for the modules that hold the registries. It finds nothing itself: it lets the
usual finders do their work and runs our registration after the module's own code.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

AWAITED = {
    "transformers.models.auto.configuration_auto": ("emotion2vec.integrations.huggingface.register", "register_config"),
    "transformers.models.auto.feature_extraction_auto": (
        "emotion2vec.integrations.huggingface.register",
        "register_feature_extractor",
    ),
    "transformers.models.auto.modeling_auto": ("emotion2vec.integrations.huggingface.register", "register_models"),
    "s3prl.hub": ("emotion2vec.integrations.s3prl.hubconf", "register"),
}
"""Modules with a registry, and the function of ours that fills it, given the module."""


class _Announcer(MetaPathFinder):
    """Runs our registration after an awaited module has been imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in AWAITED:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_announce(module: ModuleType) -> None:
            execute(module)
            announce(module)

        spec.loader.exec_module = execute_and_announce  # type: ignore[method-assign]
        return spec


def announce(module: ModuleType) -> None:
    """Register our classes in a module of `AWAITED`; another library's import never fails because of us."""
    home, function = AWAITED[module.__name__]
    try:
        getattr(import_module(home), function)(module)
    except Exception as error:
        warnings.warn(f"emotion2vec could not be registered in {module.__name__}: {error}", stacklevel=2)


def install() -> None:
    """Wait for the modules that are not imported yet, and register in those that are."""
    if any(isinstance(finder, _Announcer) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _Announcer())
    for name in AWAITED:
        if name in sys.modules:
            announce(sys.modules[name])
