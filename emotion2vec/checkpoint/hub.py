"""Names of models on a hub: Hugging Face's or ModelScope's, downloaded by the hub's own client into its own cache."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from emotion2vec.errors import CheckpointError, ConfigError

FILES = (
    *("model.json", "model.safetensors", "config.json", "model.safetensors.index.json", "model-*-of-*.safetensors"),
    "preprocessor_config.json",
    *("config.yaml", "configuration.json", "tokens.txt", "model.pt", "emotion2vec_base.pt"),
    *("README.md", "LICENSE*"),
)
"""What is downloaded: configuration, weights, labels and licence, none of the example audio and no code."""

PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin")
"""Downloaded where a repository has no weights besides."""


@dataclass(frozen=True)
class Hub:
    """A hub and its client, whose `snapshot_download` both have with the same arguments.

    Attributes:
        title: the hub's name, for messages.
        package: the client, as imported and as installed.
        revision: what is downloaded when no revision is named.
    """

    title: str
    package: str
    revision: str


HUBS = {
    "hf": Hub("Hugging Face", "huggingface_hub", "main"),
    "ms": Hub("ModelScope", "modelscope", "master"),
}

SHORT_NAMES = {
    "base": "ms:iic/emotion2vec_base@v2.0.4",
    "plus-seed": "ms:iic/emotion2vec_plus_seed@master",
    "plus-base": "ms:iic/emotion2vec_plus_base@master",
    "plus-large": "ms:iic/emotion2vec_plus_large@v2.0.5",
}
"""The official weights, with the revision that each name means; `master` where no release is known."""

_NAME = re.compile(r"(?P<hub>hf|ms):(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


def is_hub_name(name: str) -> bool:
    """Whether `name` means a model on a hub: `hf:owner/name`, `ms:owner/name` or a short name, maybe `@revision`."""
    return (name.partition(":")[0] in HUBS and ":" in name) or name.partition("@")[0] in SHORT_NAMES


def full_name(name: str) -> str:
    """Spell a short name out, with its revision or the one that it asks for."""
    short, _, revision = name.partition("@")
    if short not in SHORT_NAMES:
        return name
    return SHORT_NAMES[short] if not revision else f"{SHORT_NAMES[short].partition('@')[0]}@{revision}"


def download(name: str) -> Path:
    """Find the folder of a model on a hub: in the client's cache, or downloaded into it.

    Args:
        name: `hf:owner/name`, `ms:owner/name` or a short name; `@revision` chooses a branch, tag or commit.

    Raises:
        CheckpointError: the name is none, or the model cannot be had, for example offline.
        ConfigError: the hub's client is not installed.
    """
    match = _NAME.fullmatch(full_name(name))
    if not match or ".." in name:
        raise CheckpointError(f"{name}: is no name on a hub, expected hf:owner/name or ms:owner/name, maybe @revision")
    hub = HUBS[match["hub"]]
    fetch = _client(hub)
    arguments: dict[str, Any] = {"revision": match["revision"] or hub.revision, "allow_patterns": list(FILES)}
    folder = _fetched(fetch, match["repository"], arguments, hub, name)
    if any(path.suffix in (".safetensors", ".pt") for path in folder.iterdir()):
        return folder
    return _fetched(fetch, match["repository"], arguments | {"allow_patterns": [*FILES, *PICKLES]}, hub, name)


def _client(hub: Hub) -> Callable[..., str]:
    try:
        return import_module(hub.package).snapshot_download
    except ImportError as error:
        raise ConfigError(
            f"models on {hub.title} need its client, which is not installed: pip install {hub.package}"
        ) from error


def _fetched(fetch: Callable[..., str], repository: str, arguments: dict[str, Any], hub: Hub, name: str) -> Path:
    """Ask the hub, and then the cache alone, so that a model that was downloaded once loads offline too."""
    try:
        return Path(fetch(repository, **arguments))
    except Exception as online:  # the clients raise what their HTTP libraries raise
        try:
            folder = Path(fetch(repository, local_files_only=True, **arguments))
            if any(folder.iterdir()):
                return folder
        except Exception:
            pass
        reason = str(online).strip().partition("\n")[0][:300] or type(online).__name__
        raise CheckpointError(
            f"{name}: {repository} at revision {arguments['revision']} can neither be downloaded from {hub.title} "
            f"({type(online).__name__}: {reason}) nor is it in the client's cache. Offline? Then download it "
            "where there is a network, and pass the path of its folder"
        ) from online
