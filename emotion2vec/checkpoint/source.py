"""What a checkpoint of any kind holds, in our names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from emotion2vec.checkpoint.heard import Heard
from emotion2vec.errors import CheckpointError, ConfigError
from emotion2vec.model.config import DecoderConfig, Emotion2vecConfig, FurtherHead, HeadConfig
from emotion2vec.model.foreign_config import ForeignConfig

if TYPE_CHECKING:
    from torch import Tensor

    from emotion2vec.model.speech import SpeechEncoder


def keep() -> None:
    """Nothing is mapped, nothing to give back."""


DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
"""Types that weights can be written in, and what PyTorch calls them."""


@dataclass
class Source:
    """What a checkpoint holds, in our names; tensors keep the file's dtype and may lie in a mapped file.

    Attributes:
        format: what kind of checkpoint it is: `native`, `fairseq`, `funasr`, `huggingface`, `safetensors`, of Whisper
            `whisper`, `openai` or `ctranslate2`, or of other encoders of Hugging Face `transformers`.
        path: the folder or file that was read.
        files: the files that hold the weights.
        config: dimensions of the network.
        student: weights of the network, with `head.*` where there is a head and `further.N.*` of those beside it.
        teacher: weights of the EMA teacher under the same names; empty when the checkpoint has none, and without
            those of the CNN where the teacher shares the student's.
        decoder: weights of `Decoder`; empty when the checkpoint has none.
        decoder_config: the decoder's dimensions, where they are known.
        labels: the head's labels; empty without a head.
        head: which head it is, where there is one.
        further: the heads beside it.
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
    config: Emotion2vecConfig | ForeignConfig
    student: dict[str, Tensor]
    teacher: dict[str, Tensor] = field(default_factory=dict)
    decoder: dict[str, Tensor] = field(default_factory=dict)
    decoder_config: DecoderConfig | None = None
    labels: tuple[str, ...] = ()
    head: HeadConfig = field(default_factory=HeadConfig)
    further: tuple[FurtherHead, ...] = ()
    pickle: bool = False
    left: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    update: int | None = None
    heard: Heard | None = None
    release: Callable[[], None] = keep

    def cut(self, layers: int) -> Source:
        """The same with its first blocks alone, prenet first; without a last layer norm, a head, teacher and decoder.

        The last layer norm was trained on the output of the last block, and a head on what it gives.

        Raises:
            ConfigError: it has fewer blocks, or none of those that are left would be a main block.
        """
        config, total = self.config, self.config.prenet_depth + self.config.depth
        if not config.prenet_depth < layers <= total:
            raise ConfigError(
                f"keep_layers is {layers}, expected {config.prenet_depth + 1} to {total}, the blocks of {self.path}"
            )
        if layers == total:
            return self
        blocks = "network.encoder.layers" if isinstance(config, ForeignConfig) else "backbone.blocks"
        gone = [f"{blocks}.{number}." for number in range(layers - config.prenet_depth, config.depth)]
        gone += ["backbone.final_norm.", "head.", "further."]
        cut: Emotion2vecConfig | ForeignConfig
        if isinstance(config, ForeignConfig):
            settings = config.settings | {"num_hidden_layers": layers}
            cut = replace(config, depth=layers, settings=settings, last_norm=not config.stable)
            gone += ["network.encoder.layer_norm."] if config.stable else []
        else:
            cut = replace(config, depth=layers - config.prenet_depth, final_norm=False)
        parts = {"head": self.labels, "teacher": self.teacher, "decoder": self.decoder}
        lost = [name for name, there in parts.items() if there]
        note = f"the first {layers} of {total} blocks" + (f", without {', '.join(lost)}" if lost else "")
        return replace(
            self,
            config=cut,
            student={name: value for name, value in self.student.items() if not name.startswith(tuple(gone))},
            teacher={},
            decoder={},
            decoder_config=None,
            labels=(),
            further=(),
            notes=[*self.notes, note],
        )

    def without_further(self) -> Source:
        """The same with its main head alone, of which a note says what is gone; the same where there is no other."""
        if not self.further:
            return self
        names = ", ".join(one.target for one in self.further)
        note = f"left out, as the format holds the main head alone: the heads of {names}"
        student = {name: value for name, value in self.student.items() if not name.startswith("further.")}
        return replace(self, student=student, further=(), notes=[*self.notes, note])

    def cast(self, dtype: str) -> Source:
        """The same with all weights in `fp32`, `fp16` or `bf16`.

        Raises:
            ConfigError: there is no such type, or a weight is too large for it.
        """
        import torch

        if dtype not in DTYPES:
            raise ConfigError(f"dtype is {dtype!r}, expected {', '.join(DTYPES)}")
        kind = getattr(torch, DTYPES[dtype])

        def rounded(weights: dict[str, Tensor]) -> dict[str, Tensor]:
            cast = {name: x.to(kind) if x.is_floating_point() else x for name, x in weights.items()}
            lost = [name for name, value in cast.items() if not value.isfinite().equal(weights[name].isfinite())]
            if lost:
                raise ConfigError(f"dtype is {dtype}, but {self.path} has larger numbers in {', '.join(lost[:20])}")
            return cast

        student, teacher, decoder = (rounded(part) for part in (self.student, self.teacher, self.decoder))
        return replace(self, student=student, teacher=teacher, decoder=decoder)

    @property
    def own(self) -> Emotion2vecConfig:
        """The dimensions of a network of ours.

        Raises:
            CheckpointError: it is an encoder of transformers.
        """
        if isinstance(self.config, ForeignConfig):
            raise CheckpointError(
                f"{self.path}: holds a {self.config.type} of transformers, expected a network of ours"
            )
        return self.config

    def shapes(self) -> SpeechEncoder:
        """The network without numbers, whose names and shapes the weights must have.

        Raises:
            CheckpointError: the weights have more or fewer layers than the dimensions say; for an encoder of
                transformers, also that they do not fit or that it makes none of the settings.
        """
        from emotion2vec.checkpoint.weights import check_layers
        from emotion2vec.model.encoder import Emotion2vec
        from emotion2vec.model.shapes import shapes_alone

        if isinstance(self.config, ForeignConfig):
            return self._foreign_shapes()
        check_layers(self.config, self.student, str(self.path))
        with shapes_alone():
            model = Emotion2vec(self.config, self.labels, self.head, self.further)
        model.make_room(self.student)
        return model

    def _foreign_shapes(self) -> SpeechEncoder:
        """An encoder of transformers, in memory only when its settings are known to be those of the weights."""
        from emotion2vec.checkpoint.weights import check_weights
        from emotion2vec.model.foreign import ForeignEncoder
        from emotion2vec.model.shapes import Undrawn, shapes_alone

        assert isinstance(self.config, ForeignConfig)
        for making in (shapes_alone(), Undrawn()):  # it computes constants of its own, which no checkpoint brings
            try:
                with making:
                    model = ForeignEncoder(self.config, self.labels, self.head, self.further)
            except (CheckpointError, ConfigError):
                raise
            except Exception as error:  # its layers check their settings in different ways
                reason = " ".join(str(error).split())[:300]
                raise CheckpointError(
                    f"{self.path}: transformers makes no {self.config.type} of its settings: "
                    f"{type(error).__name__}: {reason}"
                ) from error
            model.make_room(self.student)
            check_weights(model, self.student, str(self.path))
        return model

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
