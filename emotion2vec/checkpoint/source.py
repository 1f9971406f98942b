"""Where weights come from: any file, folder or name that we can read, in our names.

`load_model`, `describe_model`, `init.from` and `convert` all start here. Kinds are told apart by content, not by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from emotion2vec.checkpoint.heard import Heard
from emotion2vec.errors import CheckpointError
from emotion2vec.model.config import DecoderConfig, Emotion2vecConfig

if TYPE_CHECKING:
    from torch import Tensor


def keep() -> None:
    """Nothing is mapped, nothing to give back."""


@dataclass
class Source:
    """What a checkpoint holds, in our names; tensors keep the file's dtype and may lie in a mapped file.

    Attributes:
        format: what kind of checkpoint it is: `native`, `fairseq`, `funasr`, `huggingface` or `safetensors`.
        path: the folder or file that was read.
        files: the files that hold the weights.
        config: dimensions of the network.
        student: weights of `Emotion2vec`, with `head.*` where there is a head.
        teacher: weights of the EMA teacher under the same names; empty when the checkpoint has none, and without
            those of the CNN where the teacher shares the student's.
        decoder: weights of `Decoder`; empty when the checkpoint has none.
        decoder_config: the decoder's dimensions, where they are known.
        labels: the head's labels; empty without a head.
        pickle: whether the weights lie in a pickle.
        left: names in the file that nothing of ours takes.
        notes: what a user should know about how the checkpoint was read.
        update: the pretraining update of the weights, where it is known.
        heard: which utterances trained the weights, where that is known.
        release: gives the memory of mapped pages back; the tensors stay valid.
    """

    format: str
    path: Path
    files: list[Path]
    config: Emotion2vecConfig
    student: dict[str, Tensor]
    teacher: dict[str, Tensor] = field(default_factory=dict)
    decoder: dict[str, Tensor] = field(default_factory=dict)
    decoder_config: DecoderConfig | None = None
    labels: tuple[str, ...] = ()
    pickle: bool = False
    left: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    update: int | None = None
    heard: Heard | None = None
    release: Callable[[], None] = keep


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
    return _read_folder(path) if path.is_dir() else _read_file(path)


def find(source: str | Path) -> Path:
    """The file or folder that `source` means; what exists as a path is a path, whatever else its name may mean.

    Raises:
        CheckpointError: there is none.
        ConfigError: a hub's client is not installed.
    """
    from emotion2vec.checkpoint import hub, native

    path, name = Path(source), str(source)
    if path.exists():
        return path
    shipped = native.shipped_models()
    if name in shipped:
        return shipped[name]
    if hub.is_hub_name(name):
        return hub.download(name)
    raise CheckpointError(
        f"{source}: no such file or folder, expected a checkpoint, hf:owner/name, ms:owner/name, or one of the names "
        f"{', '.join([*shipped, *hub.SHORT_NAMES])}"
    )


def _read_folder(folder: Path) -> Source:
    """Tell a folder's kind by the configuration that lies in it."""
    from emotion2vec.checkpoint import native
    from emotion2vec.checkpoint.formats import funasr, huggingface

    if (folder / native.CONFIG_FILE).is_file():
        return native.read_native(folder)
    newest = native.newest_checkpoint(folder)
    if newest is not None:
        return native.read_native(newest)
    if (folder / huggingface.CONFIG_FILE).is_file():
        return huggingface.read_huggingface(folder)
    if (folder / native.VERSIONS_FILE).is_file():
        raise CheckpointError(f"{folder}: this run has no complete checkpoint yet, expected at least one")
    if (folder / funasr.CONFIG_FILE).is_file():
        return funasr.read_funasr(folder)
    raise CheckpointError(
        f"{folder}: this folder is no model, expected a folder with {native.CONFIG_FILE} and {native.WEIGHTS_FILE} "
        f"(ours), {huggingface.CONFIG_FILE} (Hugging Face) or {funasr.CONFIG_FILE} (FunASR), or a run folder with at "
        "least one complete checkpoint"
    )


def _read_file(path: Path) -> Source:
    from emotion2vec.checkpoint import native
    from emotion2vec.checkpoint.formats import fairseq

    if path.name == native.WEIGHTS_FILE and (path.parent / native.CONFIG_FILE).is_file():
        return native.read_native(path.parent)
    try:
        return fairseq.read_file(path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from error
