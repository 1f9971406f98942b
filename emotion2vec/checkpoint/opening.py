"""Open a checkpoint: any file, folder or name that we can read, as a source of weights or as a model.

`load_model`, `describe_model`, `init.from` and `convert` all start here. Kinds are told apart by content, not by name.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from emotion2vec.assets import DEFAULT_MODEL
from emotion2vec.checkpoint import hub, native
from emotion2vec.checkpoint.budget import refusing
from emotion2vec.checkpoint.formats import ctranslate2, fairseq, funasr, huggingface, whisper
from emotion2vec.checkpoint.pickle.torchfile import read_torch_file
from emotion2vec.checkpoint.source import Source
from emotion2vec.checkpoint.weights import check_finite, check_weights
from emotion2vec.errors import CheckpointError, ConfigError
from emotion2vec.files import restore

if TYPE_CHECKING:
    from torch import Tensor

    from emotion2vec.model.speech import SpeechEncoder

USES = ("student", "teacher")


def load_model(source: str | Path = DEFAULT_MODEL, *, device: str = "cpu", use: str = "student") -> SpeechEncoder:
    """Load a model in eval mode with float32 weights.

    Args:
        source: a model folder or run folder of ours, a fairseq `.pt`, a FunASR or Hugging Face folder, `hf:owner/name`,
            `ms:owner/name`, or a short name; `compact`, the default, ships with the package, and so does `tiny`.
        device: where to put the weights; see `emotion2vec.devices.choose_device`.
        use: `student`, or `teacher` for the EMA weights where the checkpoint has them.

    Raises:
        CheckpointError: nothing is there, it is of no known kind, truncated, or its weights do not fit its dimensions.
        ConfigError: `use` is neither, or there is no such device.
    """
    if use not in USES:
        raise ConfigError(f"use is {use!r}, expected {' or '.join(USES)}")
    model = build_model(read_source(source), device=device, use=use)
    model.name = str(source)
    return model


def build_model(source: Source, *, device: str = "cpu", use: str = "student") -> SpeechEncoder:
    """Build the network of a source; weight after weight is copied, so that a mapped file is never in memory whole."""
    import torch

    from emotion2vec.devices import choose_device

    with refusing(source.path):
        weights, model = source.weights(use), source.shapes()
        check_weights(model, weights, str(source.path))
    place = choose_device(device)
    copies: dict[str, Tensor] = {}
    for name, value in weights.items():
        dtype = torch.float32 if value.is_floating_point() else value.dtype
        copy = value.to(dtype, copy=True).contiguous()
        source.release()
        check_finite(name, copy, str(source.path))  # here: not every device has float64
        copies[name] = copy.to(place)
    model.load_state_dict(copies, assign=True)
    model.heard = source.heard
    return model.to(place).eval()


def read_source(source: str | Path) -> Source:
    """Read whatever `source` is: a path, or a name.

    Args:
        source: a model folder or run folder of ours, a file of fairseq or of weights alone, a FunASR or Hugging Face
            folder, the name of a shipped model, or a name on a hub.

    Raises:
        CheckpointError: nothing is there, it is of no known kind, or it is broken.
        ConfigError: a hub's client is not installed.
    """
    path = find(source)
    with refusing(path):
        return _read_folder(path) if path.is_dir() else _read_file(path)


def find(source: str | Path) -> Path:
    """The file or folder that `source` means; what exists as a path is a path, whatever else its name may mean.

    Raises:
        CheckpointError: there is none.
        ConfigError: a hub's client is not installed.
    """
    path, name = Path(source), str(source)
    if path.exists():
        return path
    kind, _, rest = name.partition(":")
    if kind in hub.HUBS and rest and Path(rest).exists():
        return Path(rest)
    shipped = native.shipped_models()
    if name in shipped:
        return shipped[name]
    if hub.is_hub_name(name):
        return hub.download(name)
    restore(path)
    if path.exists():
        return path
    raise CheckpointError(
        f"{source}: no such file or folder, expected a checkpoint, hf:owner/name, ms:owner/name, or one of the names "
        f"{', '.join([*shipped, *hub.SHORT_NAMES])}"
    )


def _read_folder(folder: Path) -> Source:
    """Tell a folder's kind by the configuration that lies in it."""
    if (folder / native.CONFIG_FILE).is_file():
        return native.read_native(folder)
    newest = native.newest_checkpoint(folder)
    if newest is not None:
        return native.read_native(newest)
    if ctranslate2.is_model(folder / ctranslate2.MODEL_FILE):
        return whisper.read_ctranslate2(folder / ctranslate2.MODEL_FILE)
    if (folder / huggingface.CONFIG_FILE).is_file():
        return huggingface.read_huggingface(folder)
    if (folder / native.VERSIONS_FILE).is_file():
        raise CheckpointError(f"{folder}: this run has no complete checkpoint yet, expected at least one")
    if (folder / funasr.CONFIG_FILE).is_file():
        return funasr.read_funasr(folder)
    raise CheckpointError(
        f"{folder}: this folder is no model, expected a folder with {native.CONFIG_FILE} and {native.WEIGHTS_FILE} "
        f"(ours), {huggingface.CONFIG_FILE} (Hugging Face), {funasr.CONFIG_FILE} (FunASR) or {ctranslate2.MODEL_FILE} "
        "(CTranslate2), or a run folder with at least one complete checkpoint"
    )


def _read_file(path: Path) -> Source:
    if path.name == native.WEIGHTS_FILE and (path.parent / native.CONFIG_FILE).is_file():
        return native.read_native(path.parent)
    try:
        if ctranslate2.is_model(path):
            return whisper.read_ctranslate2(path)
        if not fairseq.is_safetensors(path) and whisper.is_openai(file := read_torch_file(path)):
            return whisper.read_openai(path, file)
        return fairseq.read_file(path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from error
