"""Golden tensors of the original implementation, loaded into our modules."""

from __future__ import annotations

import ast
import json
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from emotion2vec.checkpoint.formats.data2vec.names import state_from_fairseq
from emotion2vec.pretrain.config import PretrainConfig
from emotion2vec.pretrain.network import Pretrainer


class Golden:
    """One golden set: tensors by group, and the pretrainer with the golden weights before the step."""

    def __init__(self, folder: Path):
        self.tensors = load_file(folder / "pretrain_step.safetensors")
        self.facts = json.loads((folder / "pretrain_step.json").read_text())
        self.config = golden_config(self.facts)

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def group(self, prefix: str) -> dict[str, Tensor]:
        """Tensors under `prefix/`, renamed from fairseq's names to ours."""
        found = {
            name.removeprefix(f"{prefix}/"): t for name, t in self.tensors.items() if name.startswith(f"{prefix}/")
        }
        return state_from_fairseq(found)

    def pretrainer(self, student: str = "student") -> Pretrainer:
        model = Pretrainer(self.config)
        weights = self.group(student)
        encoder = {k: v for k, v in weights.items() if not k.startswith("decoder.")}
        model.student.load_state_dict(encoder)
        model.decoder.load_state_dict({k[8:]: v for k, v in weights.items() if k.startswith("decoder.")})
        model.teacher.load_state_dict(self.group("teacher"))
        return model

    @property
    def mask(self) -> Tensor:
        """(B, M, T) bool."""
        views = self.config.mask.views
        return self["input/mask"].bool().unflatten(0, (-1, views))


def golden_config(facts: dict) -> PretrainConfig:
    """Translate fairseq's configuration of a golden set into ours."""
    model, audio, decoder = facts["model"], facts["audio"], facts["audio"]["decoder"]
    layers = [layer for part in audio["feature_encoder_spec"].split(" + ") for layer in _spec(part)]
    config = PretrainConfig()
    own = config.model
    own.channels, own.kernels, own.strides = layers[0][0], [k for _, k, _ in layers], [s for _, _, s in layers]
    own.width, own.heads, own.ffn_width = model["embed_dim"], model["num_heads"], int(4 * model["embed_dim"])
    own.prenet_depth, own.depth, own.tokens = audio["prenet_depth"], model["depth"], audio["num_extra_tokens"]
    own.position_layers, own.position_width = audio["conv_pos_depth"], audio["conv_pos_width"]
    own.position_groups = audio["conv_pos_groups"]
    own.dropout = own.attention_dropout = own.layerdrop = 0.0
    config.mask.views, config.mask.prob = model["clone_batch"], audio["mask_prob"]
    config.mask.adjust, config.mask.span = audio["mask_prob_adjust"], audio["mask_length"]
    config.decoder.width, config.decoder.layers = decoder["decoder_dim"], decoder["decoder_layers"]
    config.decoder.kernel, config.decoder.groups = decoder["decoder_kernel"], decoder["decoder_groups"]
    config.decoder.input_dropout = config.decoder.mask_noise = 0.0
    config.loss.top_k, config.loss.utterance = model["average_top_k_layers"], "none"
    config.ema.decay, config.ema.end_decay = model["ema_decay"], model["ema_end_decay"]
    config.ema.anneal_updates = model["ema_anneal_end_step"]
    return config


def _spec(part: str) -> list[tuple[int, int, int]]:
    layers, _, times = part.partition(" * ")
    return ast.literal_eval(layers) * int(times or 1)


def relative_error(ours: Tensor, golden: Tensor) -> float:
    """‖ours − golden‖ / ‖golden‖."""
    return float((ours.detach().double() - golden.double()).norm() / golden.double().norm())
