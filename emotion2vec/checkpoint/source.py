"""What a checkpoint of any kind holds, in our names."""

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

    def weights(self, use: str = "student") -> dict[str, Tensor]:
        """The student's weights, or the teacher's with the student's where the teacher has none of its own.

        Raises:
            CheckpointError: there is no teacher.
        """
        if use == "student":
            return self.student
        if not self.teacher:
            raise CheckpointError(f"{self.path}: holds no teacher, expected use='student'")
        return self.student | self.teacher
