"""Where weights come from: any file, folder or name that we can read, in our names.

`load_model`, `describe_model`, `init.from` and `convert` all start here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from emotion2vec.checkpoint import native
from emotion2vec.config import DecoderConfig, Emotion2vecConfig

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Source:
    """What a checkpoint holds, in our names; tensors keep the file's dtype and may lie in a mapped file.

    Attributes:
        format: what kind of checkpoint it is: `native`, `fairseq`, `funasr` or `huggingface`.
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
    release: Callable[[], None] = lambda: None


def read_source(source: str | Path) -> Source:
    """Read whatever `source` is: a path, or a name.

    Raises:
        CheckpointError: nothing is there, it is of no known kind, or it is broken.
    """
    folder = native.find_model(source)
    description = native.read_description(folder)
    return Source(
        format="native",
        path=folder,
        files=[folder / native.WEIGHTS_FILE],
        config=description.config,
        student=native.read_tensors(folder / native.WEIGHTS_FILE),
        labels=description.labels,
    )
