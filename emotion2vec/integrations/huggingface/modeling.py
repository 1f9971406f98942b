"""Our network as transformers models.

B: utterances. S: samples. T: frames. D: model width. C: labels. L: Transformer blocks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, SequenceClassifierOutput

from emotion2vec.checkpoint.card import card_text
from emotion2vec.checkpoint.formats.huggingface import CODE, CODE_FILE, auto_map
from emotion2vec.files import write_text
from emotion2vec.integrations.huggingface.configuration import Emotion2vecHFConfig
from emotion2vec.model.backbone import Backbone
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.model.heads import UNUSED, Head, MeanLinear
from emotion2vec.model.logmel import LogMel
from emotion2vec.model.position import alibi_slopes
from emotion2vec.model.speech import Encoded


class Emotion2vecPreTrainedModel(PreTrainedModel):
    """What both models share: `network`, which holds our own `Emotion2vec`, and how it is called and saved."""

    config_class = Emotion2vecHFConfig
    base_model_prefix = "network"
    main_input_name = "input_values"
    input_modalities = "audio"
    network: Emotion2vec

    def _init_weights(self, module: nn.Module) -> None:
        """Initialize what a checkpoint does not bring: a new head, and ALiBi's slopes, which follow from the heads."""
        if isinstance(module, MeanLinear):
            nn.init.normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
        elif isinstance(module, Backbone) and module.slopes is not None:
            with torch.no_grad():
                module.slopes.copy_(alibi_slopes(self.config.heads))
        elif isinstance(module, LogMel):
            with torch.no_grad():
                for buffer, value in zip((module.window, module.filters), module.constants(), strict=True):
                    buffer.copy_(value)

    def encode(self, input_values: Tensor, attention_mask: Tensor | None) -> Encoded:
        """Encode normalized waveforms (B, S); `attention_mask` (B, S) is 1 at real samples."""
        padding = None if attention_mask is None or bool(attention_mask.all()) else attention_mask == 0
        return self.network(input_values, padding)

    def hidden_states(self, encoded: Encoded, wanted: bool | None) -> tuple[Tensor, ...] | None:
        """L + 1 tensors (B, T, D): what enters the first block, then every block's output; None if not wanted."""
        wanted = self.config.output_hidden_states if wanted is None else wanted
        return (encoded.embedded, *encoded.layers) if wanted else None

    def save_pretrained(self, save_directory: str | Path, *args: Any, **kwargs: Any) -> None:
        """Save as transformers does, with a model card and the file that `trust_remote_code=True` imports."""
        self.config.auto_map = auto_map(head=self.network.head is not None)
        super().save_pretrained(save_directory, *args, **kwargs)
        folder = Path(save_directory)
        if not folder.is_dir():  # transformers refused, and logged why
            return
        write_text(folder / CODE_FILE, CODE)
        if not (folder / "README.md").exists():
            write_text(folder / "README.md", self.card())

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> Any:
        """Upload as transformers does, with our model card where the repository has none yet."""
        from huggingface_hub import HfApi, ModelCard

        token = kwargs.get("token")
        api = HfApi(token=token)
        repo_id = api.create_repo(repo_id, private=kwargs.get("private"), exist_ok=True).repo_id
        if not api.file_exists(repo_id, "README.md"):
            ModelCard(self.card()).push_to_hub(repo_id, token=token)
        return super().push_to_hub(repo_id, **kwargs)

    def card(self) -> str:
        """The model card."""
        labels = () if self.network.head is None else self.config.labels()
        origin = "Saved by `save_pretrained` of emotion2vec's Hugging Face classes."
        return card_text(self.config.dimensions(), labels, self.network.state_dict(), "huggingface", origin)


class Emotion2vecModel(Emotion2vecPreTrainedModel):
    """The frozen features: the output of the last block, and of all blocks."""

    _keys_to_ignore_on_load_unexpected = [r"network\.head\."]  # noqa: RUF012 (a class attribute of transformers)

    def __init__(self, config: Emotion2vecHFConfig):
        super().__init__(config)
        self.network = Emotion2vec(config.dimensions())
        self.post_init()

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutput | tuple[Tensor, ...]:
        """Encode.

        Args:
            input_values: (B, S) normalized samples at 16 kHz, as the feature extractor gives.
            attention_mask: (B, S), 1 = real samples.
            output_hidden_states: give the hidden states too, see `hidden_states`.
            return_dict: False gives a tuple.
            kwargs: ignored, as transformers' own callers pass more than every model takes.

        Returns:
            `last_hidden_state` (B, T, D) and, if wanted, `hidden_states`.
        """
        encoded = self.encode(input_values, attention_mask)
        states = self.hidden_states(encoded, output_hidden_states)
        output = BaseModelOutput(last_hidden_state=encoded.frames, hidden_states=states)
        return output if return_dict is not False else output.to_tuple()


class Emotion2vecForAudioClassification(Emotion2vecPreTrainedModel):
    """The network with a head, by default a linear one over the mean of an utterance's frames."""

    def __init__(self, config: Emotion2vecHFConfig):
        super().__init__(config)
        self.network = Emotion2vec(config.dimensions(), config.labels(), config.head_config())
        if (shape := config.standardized()) is not None:  # which the weights bring
            self.head.shift, self.head.scale = torch.zeros(shape), torch.ones(shape)
        unused = torch.tensor([label.startswith(UNUSED) for label in config.labels()], device="cpu")
        self.unused = unused.nonzero().flatten().tolist()
        self.post_init()

    def freeze_base_model(self) -> None:
        """Train the head alone."""
        self.network.requires_grad_(False)
        self.head.requires_grad_(True)

    @property
    def head(self) -> Head:
        """The head, which this class always has."""
        assert self.network.head is not None
        return self.network.head

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutput | tuple[Tensor, ...]:
        """Classify.

        Args:
            input_values: (B, S) normalized samples at 16 kHz, as the feature extractor gives.
            attention_mask: (B, S), 1 = real samples.
            labels: (B,) numbers of the right labels; gives a cross-entropy loss. Of a head of values (B, C), for the
                mean squared error.
            output_hidden_states: give the hidden states too, see `hidden_states`.
            return_dict: False gives a tuple.
            kwargs: ignored, as transformers' own callers pass more than every model takes.

        Returns:
            `logits` (B, C), −∞ for labels without a probability, or values as they are, with `loss` and
            `hidden_states` where wanted.
        """
        encoded = self.encode(input_values, attention_mask)
        logits = self.head(encoded.read_by(self.head), encoded.padding)
        if self.unused:
            logits = logits.index_fill(1, torch.tensor(self.unused, device=logits.device), float("-inf"))
        compared = F.mse_loss if self.head.config.task == "values" else F.cross_entropy
        loss = None if labels is None else compared(logits.float(), labels)
        states = self.hidden_states(encoded, output_hidden_states)
        output = SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=states)
        return output if return_dict is not False else output.to_tuple()
