"""Whisper's encoders in three formats, beside transformers' own and files that CTranslate2 wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperModel

from emotion2vec.checkpoint.opening import load_model, read_source
from emotion2vec.errors import CheckpointError

WIDTH, HEADS, DEPTH = 32, 4, 3


def whisper(kind: type = WhisperModel, bands: int = 80, seed: int = 0) -> Any:
    """A tiny Whisper with random weights, in which biases and norms take part."""
    sizes = {"encoder_layers": DEPTH, "decoder_layers": 1, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48}
    heads = {"encoder_attention_heads": HEADS, "decoder_attention_heads": HEADS}
    tokens = {"vocab_size": 20, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    config = WhisperConfig(
        d_model=WIDTH, num_mel_bins=bands, suppress_tokens=None, begin_suppress_tokens=None, **sizes, **heads, **tokens
    )
    torch.manual_seed(seed)
    model = kind(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embed_positions" not in name:
                parameter.normal_(std=0.3 if parameter.ndim == 1 else 0.1)
    return model


def encoder_of(model: Any) -> Any:
    return model.model.encoder if hasattr(model, "model") else model.encoder


def openai_state(model: Any) -> dict[str, torch.Tensor]:
    """The encoder's weights under OpenAI's names."""
    names = {
        "embed_positions.weight": "positional_embedding",
        "layer_norm.": "ln_post.",
        "layers.": "blocks.",
        "self_attn_layer_norm": "attn_ln",
        "self_attn.q_proj": "attn.query",
        "self_attn.k_proj": "attn.key",
        "self_attn.v_proj": "attn.value",
        "self_attn.out_proj": "attn.out",
        "final_layer_norm": "mlp_ln",
        "fc1": "mlp.0",
        "fc2": "mlp.2",
    }
    state = {}
    for name, value in encoder_of(model).state_dict().items():
        for theirs, openais in names.items():
            if theirs != "layer_norm." or name.startswith("layer_norm."):
                name = name.replace(theirs, openais)
        state[f"encoder.{name}"] = value.clone()
    return state | {"decoder.token_embedding.weight": torch.zeros(4, WIDTH)}


def write_openai(model: Any, path: Path, **dims: int) -> Path:
    facts = {"n_mels": 80, "n_audio_ctx": 1500, "n_audio_state": WIDTH, "n_audio_head": HEADS, "n_audio_layer": DEPTH}
    facts |= {"n_vocab": 20, "n_text_ctx": 8, "n_text_state": WIDTH, "n_text_head": HEADS, "n_text_layer": 1}
    torch.save({"dims": {**facts, **dims}, "model_state_dict": openai_state(model)}, path)
    return path


def write_ctranslate2(model: Any, folder: Path, quantization: str | None) -> Path:
    """Let CTranslate2 write its own file."""
    from ctranslate2.converters.transformers import WhisperLoader
    from ctranslate2.specs import WhisperSpec

    loader, spec = WhisperLoader(), WhisperSpec(DEPTH, HEADS, 1, HEADS)
    loader.set_encoder(spec.encoder, model.model.encoder)
    loader.set_decoder(spec.decoder, model.model.decoder)
    loader.set_linear(spec.decoder.projection, model.proj_out)
    spec.register_vocabulary([str(number) for number in range(20)])
    spec.validate()
    spec.optimize(quantization=quantization)
    folder.mkdir()
    spec.save(str(folder))
    return folder / "model.bin"


def speech(seconds: float, seed: int = 0) -> np.ndarray:
    samples = round(16_000 * seconds)
    time = np.arange(samples) / 16_000
    tone = np.sin(2 * np.pi * 150 * time * (1 + 0.1 * np.sin(5 * time)))
    return (0.2 * tone + 0.05 * np.random.default_rng(seed).normal(size=samples)).astype(np.float32)


def check_against_transformers(path: Path, model: Any, tolerance: float = 1e-4) -> None:
    """All hidden states of 30 s, which is what transformers' encoder takes."""
    ours = load_model(path)
    waveform = speech(30.0)
    bands = encoder_of(model).config.num_mel_bins
    features = WhisperFeatureExtractor(feature_size=bands)(waveform, sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        expected = encoder_of(model)(features.input_features, output_hidden_states=True).hidden_states
        found = ours(torch.from_numpy(waveform).unsqueeze(0))
    assert len(expected) == DEPTH + 1
    for theirs, own in zip(expected, [found.embedded, *found.layers], strict=True):
        assert float((theirs - own).abs().max()) < tolerance


@pytest.mark.parametrize("kind", [WhisperModel, WhisperForConditionalGeneration])
@pytest.mark.parametrize("bands", [80, 128])
def test_hugging_face_folders(kind: type, bands: int, tmp_path: Path) -> None:
    model = whisper(kind, bands)
    model.save_pretrained(tmp_path)
    check_against_transformers(tmp_path, model)


def test_openai_files(tmp_path: Path) -> None:
    model = whisper()
    check_against_transformers(write_openai(model, tmp_path / "base.pt"), model)


@pytest.mark.parametrize(
    ("quantization", "tolerance"),
    [(None, 1e-4), ("float16", 1e-2), ("bfloat16", 5e-2), ("int16", 1e-2), ("int8", 0.2), ("int8_float16", 0.2)],
)
def test_files_of_ctranslate2(quantization: str | None, tolerance: float, tmp_path: Path) -> None:
    path = write_ctranslate2(whisper(WhisperForConditionalGeneration), tmp_path / "ct2", quantization)
    check_against_transformers(path, whisper(WhisperForConditionalGeneration), tolerance)


def test_the_folder_of_ctranslate2_is_taken_too(tmp_path: Path) -> None:
    path = write_ctranslate2(whisper(WhisperForConditionalGeneration), tmp_path / "ct2", None)
    assert read_source(path.parent).format == read_source(path).format == "ctranslate2"


@pytest.mark.parametrize("cut", [0.2, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_off_is_named(cut: float, tmp_path: Path) -> None:
    whole = write_ctranslate2(whisper(WhisperForConditionalGeneration), tmp_path / "ct2", None).read_bytes()
    part = tmp_path / "model.bin"
    part.write_bytes(whole[: int(cut * len(whole))])
    with pytest.raises(CheckpointError, match=r"model\.bin: .*(truncated|lacks)"):
        read_source(part)


def test_a_missing_layer_is_named(tmp_path: Path) -> None:
    whisper().save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["encoder.layers.1.fc1.weight"]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"lacks 1 weights of Whisper's encoder: encoder\.layers\.1\.fc1\.weight"):
        read_source(tmp_path)


def test_another_width_than_the_configuration_says_is_named(tmp_path: Path) -> None:
    whisper().save_pretrained(tmp_path)
    document = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(document | {"encoder_ffn_dim": 64}))
    with pytest.raises(CheckpointError, match=r"fc1\.weight has shape \(48, 32\), expected \(64, 32\)"):
        load_model(tmp_path)


def test_other_positions_than_sinusoids_are_refused(tmp_path: Path) -> None:
    model = whisper()
    with torch.no_grad():
        model.encoder.embed_positions.weight.normal_()
    model.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="from Whisper's sinusoids"):
        read_source(tmp_path)


def test_a_decoder_alone_is_no_encoder(tmp_path: Path) -> None:
    whisper().save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    save_file({name: value for name, value in weights.items() if "decoder" in name}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="no encoder of Whisper"):
        read_source(tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("encoder_attention_heads", 0, "heads is 0, expected >= 1"),
        ("encoder_layers", 2, "3 blocks are there, expected 2"),
        ("encoder_layers", 10_000, "3 blocks are there, expected 10000"),
        ("encoder_layers", 10**9, "depth is 1000000000, expected >= 1 and <= 10000"),
        ("max_source_positions", 10**9, r"shape \(1500, 32\), expected \(1000000000, 32\)"),
        ("num_mel_bins", 10**9, "mels is 1000000000, expected >= 1 and <= 200"),
        ("num_mel_bins", 100, r"conv1.weight has shape \(32, 80, 3\), expected \(32, 100, 3\)"),
        ("activation_function", "relu", "activation_function is 'relu', expected 'gelu'"),
    ],
)
def test_dimensions_that_are_not_those_of_the_weights_cost_nothing(
    field: str, value: Any, message: str, tmp_path: Path
) -> None:
    whisper().save_pretrained(tmp_path)
    document = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(document | {field: value}))
    with pytest.raises(CheckpointError, match=message):
        load_model(tmp_path)


@pytest.mark.parametrize("shape", [(), (32,), (32, 16), (16, 32)])
def test_queries_of_a_wrong_shape_are_named(shape: tuple[int, ...], tmp_path: Path) -> None:
    whisper().save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["encoder.layers.1.self_attn.q_proj.weight"] = torch.zeros(shape)
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"layers\.1\.self_attn\.q_proj\.weight has shape"):
        load_model(tmp_path)


def test_positions_that_were_rounded_twice_are_taken(tmp_path: Path) -> None:
    whisper().half().bfloat16().save_pretrained(tmp_path)
    assert load_model(tmp_path).config.max_frames == 1500


def test_positions_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    model = whisper()
    with torch.no_grad():
        model.encoder.embed_positions.weight[3, 4] = float("nan")
    model.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="positions are nan from Whisper's sinusoids"):
        read_source(tmp_path)
