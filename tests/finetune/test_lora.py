"""Low-rank adapters: what learns, what is saved, and that the model that is left does the same without them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from finetune.talkers import quick_config, write_model
from finetune.test_run import check_killed_and_resumed
from foreign import write_encoder
from torch.utils.flop_counter import FlopCounterMode

from emotion2vec.checkpoint import load_model
from emotion2vec.errors import ConfigError, TrainingError
from emotion2vec.finetune import adapted
from emotion2vec.finetune.adapters import adapt, find_targets
from emotion2vec.finetune.learnt import LoraConfig
from emotion2vec.finetune.network import TunedNetwork
from emotion2vec.finetune.objective import Finetuning
from emotion2vec.finetune.run import finetune
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.training.work import clip_flops

LORA = ["finetune.strategy=lora", "lora.rank=2", "lora.alpha=2", "optim.encoder_lr=1e-2"]


def silent(text: str) -> None:
    pass


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Finetuning]:
    """The objectives that are made."""
    found: list[Finetuning] = []
    monkeypatch.setattr(Finetuning, "prepare", lambda self, *rest: found.append(self))
    return found


def scores(model: torch.nn.Module) -> torch.Tensor:
    waves = torch.randn(3, 8_000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model.scores(model(waves))


@pytest.mark.parametrize("kind", ["ours", "hubert base", "wavlm large", "data2vec-audio", "conformer relative"])
def test_the_model_that_is_left_is_plain_and_scores_the_same(
    kind: str, talkers: Path, model: Path, tmp_path: Path, seen: list[Finetuning]
) -> None:
    if kind != "ours":
        write_encoder(model := tmp_path / "start", kind)
    more = ["data.min_samples=4000", "data.max_seconds=0.6", "finetune.calibrate=false", "optim.max_updates=2"]
    more += ["finetune.standardize=0"]
    finetune(quick_config(talkers, model, tmp_path / "run", *LORA, *more), silent)
    start, left = load_model(model), load_model(tmp_path / "run")
    tuned = seen[0].model.eval()
    assert any("lora_A" in name for name, _ in tuned.named_parameters())
    assert not any("lora" in name for name in left.state_dict())
    assert torch.allclose(scores(tuned), scores(left), atol=1e-5)
    before, after = start.state_dict(), left.state_dict()
    moved = {name.rsplit(".", 2)[1] for name in before if not torch.equal(before[name], after[name])}
    expected = {"ours": {"qkv"}, "conformer relative": {"linear_q", "linear_v"}}
    assert moved == expected.get(kind, {"q_proj", "v_proj"})
    for name in before:
        if name.rsplit(".", 2)[1] in moved and name.endswith("weight"):
            assert 1 <= torch.linalg.matrix_rank(after[name] - before[name], rtol=1e-3) <= 2


def test_killed_and_resumed_is_bit_for_bit_uninterrupted(talkers: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", dropout=0.1)
    more = [*LORA, "lora.dropout=0.2", "lora.targets=[qkv,fc2]", "optim.max_updates=5"]
    state = check_killed_and_resumed(talkers, model, tmp_path, more, killed_in=4, last=5)
    moments = [name for name in state if name.startswith("optimizer.exp_avg.")]
    assert all("lora_" in name or ".head." in name for name in moments)
    assert sum(".head." in name for name in moments) == 2 and len(moments) == 2 + 2 * 4


def test_adapters_are_where_they_are_wanted_or_the_layers_are_named(model: Path) -> None:
    encoder = load_model(model)
    below = len(encoder.parts()) - 2
    assert find_targets(encoder, below, []) == [f"backbone.blocks.{n}.attention.qkv" for n in (0, 1)]
    assert find_targets(encoder, below + 1, ["fc1"]) == ["backbone.blocks.1.fc1"]
    assert find_targets(encoder, below, ["blocks.0.fc1", r"attention\.p.*"]) == [
        "backbone.blocks.0.attention.proj",
        "backbone.blocks.0.fc1",
        "backbone.blocks.1.attention.proj",
    ]
    with pytest.raises(ConfigError) as raised:
        find_targets(encoder, below, ["query", "fc1("])
    for text in ("'query'", "attention.proj, attention.qkv, fc1, fc2", "'fc1('"):
        assert text in str(raised.value)


def test_layers_that_multiply_gelu_of_their_input_are_adapted_too(model: Path) -> None:
    encoder = load_model(model).train()
    assert isinstance(encoder, Emotion2vec)
    wave = torch.randn(1, 8_000, generator=torch.Generator().manual_seed(1))
    plain = encoder(wave).frames
    adapters = adapt(encoder, 0, LoraConfig(targets=["qkv", "proj", "fc1", "fc2"]), seed=0)
    assert len(adapters.layers) == 8 and torch.allclose(encoder(wave).frames, plain, atol=1e-6)
    for parameter in adapters.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    tuned, merged = encoder(wave).frames, load_model(model).train()
    merged.load_state_dict(adapters.merged())
    assert not torch.allclose(tuned, plain, atol=0.1)
    assert torch.allclose(merged(wave).frames, tuned, atol=1e-5)


def test_adapters_that_get_no_gradient_are_named(
    talkers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with peft alone, whose layers give WavLM's attention the weights as they were."""
    monkeypatch.setattr(adapted.AdaptedLinear, "weight", adapted.lora.Linear.weight)
    write_encoder(tmp_path / "start", "wavlm base")
    with pytest.raises(TrainingError, match=r"12 trainable tensors got no gradient.*q_proj\.lora_A"):
        finetune(quick_config(talkers, tmp_path / "start", tmp_path / "run", "data.min_samples=4000", *LORA), silent)


def test_dropout_that_weights_cannot_have_is_refused(talkers: Path, tmp_path: Path) -> None:
    write_encoder(tmp_path / "start", "wavlm base")
    more = ["data.min_samples=4000", "lora.dropout=0.1"]
    with pytest.raises(ConfigError, match=r"lora.dropout is on.*feed-forward"):
        finetune(quick_config(talkers, tmp_path / "start", tmp_path / "run", *LORA, *more), silent)
    config = quick_config(
        talkers, tmp_path / "start", tmp_path / "run", *LORA, *more, "lora.targets=[intermediate_dense,output_dense]"
    )
    finetune(config, silent)


def test_counted_work_differs_from_that_of_full_as_torch_counts_it(tmp_path: Path) -> None:
    def work(adapted: bool) -> tuple[float, float]:
        encoder = load_model(write_model(tmp_path / str(adapted), width=64, ffn_width=256, depth=6))
        below = len(encoder.parts()) - 6
        tuned = TunedNetwork(encoder, below, adapt(encoder, below, LoraConfig(rank=1), 0) if adapted else None)
        with FlopCounterMode(display=False) as counter:
            tuned.encoder(torch.randn(1, 16_000)).frames.sum().backward()
        return clip_flops(encoder, 16_000), counter.get_total_flops()

    (full, counted_full), (lora, counted_lora) = work(False), work(True)
    assert full - lora == pytest.approx(counted_full - counted_lora, rel=0.2)
