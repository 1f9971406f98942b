"""fairseq's files and FunASR's folders: exact against the original's outputs, and strict about what they are."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from checkpoint.files import LABELS, LAYOUTS, decoder_of, network, settings, state
from golden import Golden, relative_error
from networks import waveforms
from safetensors.torch import load_file, save_file

from emotion2vec.checkpoint import load_model
from emotion2vec.checkpoint.formats.data2vec.from_settings import cnn_layers
from emotion2vec.checkpoint.opening import read_source
from emotion2vec.errors import CheckpointError, ConfigError
from emotion2vec.model.encoder import Emotion2vec

TINY = "golden/data2vec2_tiny"
FILES = ["fairseq_checkpoint.pt", "fairseq_checkpoint_legacy.pt", "fairseq_finetuned.pt", "funasr_model"]


def message(path: Path) -> str:
    with pytest.raises(CheckpointError) as raised:
        load_model(path)
    return str(raised.value)


def same_weights(found: Emotion2vec, expected: Emotion2vec) -> bool:
    state = expected.state_dict()
    return all(torch.equal(value, state[name]) for name, value in found.state_dict().items())


@pytest.mark.parametrize("name", FILES)
def test_features_are_the_originals(name: str, shared: Path) -> None:
    golden = Golden(shared / TINY)
    model = load_model(shared / TINY / name)
    with torch.no_grad():
        out = model.backbone(model.frontend(golden["input/source"]))
    assert relative_error(out.x, golden["features_after/x_with_tokens"]) < 1e-5
    assert len(out.ffn) == 4
    for number, ffn in enumerate(out.ffn):
        assert relative_error(ffn, golden[f"features_after/ffn_output_{number}"]) < 1e-5


def test_funasr_outputs(shared: Path) -> None:
    folder = shared / TINY
    outputs = load_file(folder / "funasr_outputs.safetensors")
    model = load_model(folder / "funasr_model")
    for clip in json.loads((folder / "funasr_outputs.json").read_text()):
        stem = Path(clip["wav"]).stem
        features, scores = model.extract_features(folder / clip["wav"]), model.predict(folder / clip["wav"])
        assert relative_error(torch.from_numpy(features.frames), outputs[f"{stem}/frame"]) < 1e-5
        assert relative_error(torch.from_numpy(features.utterance), outputs[f"{stem}/utterance"]) < 1e-5
        assert list(scores) == clip["labels"]
        assert relative_error(torch.tensor(list(scores.values())), outputs[f"{stem}/scores"]) < 1e-5


def test_teacher_weights_on_request(shared: Path) -> None:
    golden = Golden(shared / TINY)
    teacher = load_model(shared / TINY / "fairseq_checkpoint.pt", use="teacher").state_dict()
    student = load_model(shared / TINY / "fairseq_checkpoint.pt").state_dict()
    after = golden.group("teacher_after")
    assert len(after) > 80 and all(relative_error(teacher[name], value) < 1e-6 for name, value in after.items())
    shared_names = [name for name in student if name.startswith("frontend.")]
    assert shared_names and all(torch.equal(teacher[name], student[name]) for name in shared_names)
    with pytest.raises(CheckpointError, match="holds no teacher"):
        load_model(shared / TINY / "fairseq_finetuned.pt", use="teacher")
    with pytest.raises(ConfigError, match="expected student or teacher"):
        load_model(shared / TINY / "fairseq_finetuned.pt", use="ema")


def test_source_of_a_pretraining_checkpoint(shared: Path) -> None:
    source = read_source(shared / TINY / "fairseq_checkpoint_legacy.pt")
    assert (source.format, source.pickle, source.update, source.labels) == ("fairseq", True, 1, ())
    assert source.decoder_config is not None and source.decoder_config.width == 24
    assert (source.decoder_config.layers, source.decoder_config.groups, source.decoder_config.kernel) == (4, 4, 7)
    finetuned = read_source(shared / TINY / "fairseq_finetuned.pt")
    assert finetuned.labels == tuple("012345678")
    assert "numbered from 0" in " ".join(finetuned.notes)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_official_layouts(layout: str, zipped: bool, tmp_path: Path) -> None:
    """FunASR folders as published, small; with and without settings, in both of torch's formats."""
    labels = () if layout == "base" else tuple(LABELS)
    model = network(labels, **LAYOUTS[layout])
    weights = {"model": state(model, wrapper="d2v_model.", decoder=decoder_of(model))}
    name = "emotion2vec_base.pt" if layout == "base" else "model.pt"
    torch.save(weights, tmp_path / name, _use_new_zipfile_serialization=zipped)
    config = {"model": "Emotion2vec", "model_conf": settings(model.config), "scope_map": ["d2v_model.", "none"]}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    if labels:
        (tmp_path / "tokens.txt").write_text("\n".join(labels), encoding="utf-8")  # no line break at the end there
    found = load_model(tmp_path)
    assert same_weights(found, model)
    assert (found.config.prenet_depth, found.config.depth) == (model.config.prenet_depth, model.config.depth)
    with torch.no_grad():
        assert torch.equal(found(waveforms(1, 4_000)).frames, model(waveforms(1, 4_000)).frames)
    assert (found.head is None) == (layout == "base")
    alone = load_model(tmp_path / name)  # the file alone, recognized by its shapes
    assert same_weights(alone, model)
    assert alone.config == model.config


def test_state_alone_and_safetensors(tmp_path: Path) -> None:
    model = network()
    torch.save(state(model), tmp_path / "a.pt")
    torch.save(model.state_dict(), tmp_path / "b.pt")
    torch.save({"state_dict": state(model, wrapper="module.d2v_model.")}, tmp_path / "c.bin")
    save_file(state(model), tmp_path / "d")
    for path in tmp_path.iterdir():
        source = read_source(path)
        assert same_weights(load_model(path), model)
        assert any("no configuration" in note for note in source.notes)
        assert source.pickle == (path.name != "d")


def test_namespace_settings_and_inner_configuration(tmp_path: Path) -> None:
    """`args` of old fine-tuned files, and the pretraining configuration inside a fine-tuned one."""
    model = network(prenet_depth=2, depth=3)
    inner = {"_name": "classifier", "w2v_args": {"model": settings(model.config)}}
    for number, content in enumerate(
        ({"args": argparse.Namespace(**settings(model.config))}, {"cfg": {"model": inner, "task": {"normalize": True}}})
    ):
        path = tmp_path / f"{number}.pt"
        torch.save({**content, "model": state(model)}, path)
        assert same_weights(load_model(path), model)
        assert read_source(path).notes == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    model = network().to(dtype)
    torch.save({"model": state(model)}, tmp_path / "model.pt")
    assert same_weights(load_model(tmp_path / "model.pt"), model.float())


def write(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A good checkpoint, changed."""
    model = network(prenet_depth=1, depth=2)
    content = {"cfg": {"model": settings(model.config), "task": {"normalize": True}}, "model": state(model)}
    change(content)
    torch.save(content, path)
    return path


def audio(content: dict[str, Any]) -> dict[str, Any]:
    return content["cfg"]["model"]["modalities"]["audio"]


def test_settings_that_are_not_implemented_are_all_named(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["cfg"]["model"] |= {"layer_norm_first": True, "activation_fn": "relu", "norm_eps": 1e-6}
        content["cfg"]["task"]["normalize"] = False
        audio(content).update(
            learned_alibi=True, conv_pos_pre_ln=True, extractor_mode="default", use_alibi_encoder=False,
            learned_alibi_scale_per_layer=True, num_alibi_heads=7, type="IMAGE", alibi_max_pos=100,
        )  # fmt: skip

    text = message(write(tmp_path / "model.pt", change))
    for line in (
        "model.layer_norm_first is True, supported: False",
        "model.activation_fn is 'relu', supported: 'gelu'",
        "model.norm_eps is 1e-06, supported: 1e-05",
        "task.normalize is False, supported: True",
        "audio.learned_alibi is True, supported: False",
        "audio.conv_pos_pre_ln is True, supported: False",
        "audio.extractor_mode is 'default', supported: 'layer_norm'",
        "audio.use_alibi_encoder is False, supported: True",
        "audio.learned_alibi_scale_per_layer is True, supported: False",
        "audio.num_alibi_heads is 7, supported: model.num_heads (12)",
        "audio.type is 'IMAGE', supported: 'AUDIO'",
        "audio.alibi_max_pos is 100, supported: None",
    ):
        assert line in text
    assert text.startswith("12 faults in ")


def test_settings_of_training_are_noted(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["cfg"]["model"] |= {"end_of_block_targets": True, "post_mlp_drop": 0.3}
        audio(content)["decoder"]["projection_layers"] = 2
        model = network(prenet_depth=1, depth=2)
        content["model"] = state(model, decoder=decoder_of(model))

    source = read_source(write(tmp_path / "model.pt", change))
    text = "\n".join(source.notes)
    assert "model.end_of_block_targets is True: a setting of training" in text
    assert "model.post_mlp_drop 0.3" in text and "dropout takes the first for all" in text
    assert "the decoder is not taken, its settings are not implemented: projection_layers 2" in text
    assert source.decoder == {} and "decoder.proj.weight" in source.left


def test_one_alibi_scale_for_all_heads(tmp_path: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        audio(content)["learned_alibi_scale_per_head"] = False
        content["model"]["modality_encoders.AUDIO.alibi_scale"] = torch.full((1, 1, 1, 1, 1), 0.7)

    model = load_model(write(tmp_path / "model.pt", change))
    assert model.backbone.alibi_scale.tolist() == pytest.approx([0.7] * 12)


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["w2v_encoder.w2v_model.feature_extractor.conv_layers.0.0.weight", "w2v_encoder.proj.weight"], "an ASR model"),
        (["modality_encoders.IMAGE.fixed_positional_encoder.positions", "blocks.0.norm1.weight"], "an image model"),
        (["feature_extractor.conv_layers.0.0.weight", "encoder.layers.0.fc1.weight"], "a wav2vec 2.0, HuBERT"),
        (["embeddings.word.weight"], "a text model"),
        (["a.b", "c"], "another kind of model (2 weights: a.b, c)"),
    ],
)
def test_other_kinds_of_models(names: list[str], kind: str, tmp_path: Path) -> None:
    torch.save({"model": {name: torch.zeros(2) for name in names}}, tmp_path / "model.pt")
    text = message(tmp_path / "model.pt")
    assert kind in text and "expected data2vec 2.0 audio or emotion2vec" in text


def test_every_name_and_shape_that_differs(tmp_path: Path) -> None:
    def extra(content: dict[str, Any]) -> None:
        content["model"] |= {"modality_encoders.AUDIO.surprise": torch.zeros(2, 3), "blocks.0.other": torch.zeros(1)}

    text = message(write(tmp_path / "model.pt", extra))
    assert "modality_encoders.AUDIO.surprise (2, 3)" in text and "blocks.0.other (1,)" in text

    def change(content: dict[str, Any]) -> None:
        del content["model"]["blocks.1.norm1.weight"], content["model"]["modality_encoders.AUDIO.alibi_scale"]
        content["model"]["blocks.0.mlp.fc1.weight"] = torch.zeros(7, 48)
        content["model"]["modality_encoders.AUDIO.extra_tokens"] = torch.zeros(2, 10, 48)

    text = message(write(tmp_path / "model.pt", change))
    assert "missing backbone.blocks.1.norm1.weight (48,)" in text
    assert "missing backbone.alibi_scale (12,)" in text
    assert "backbone.blocks.0.fc1.weight has shape (7, 48), expected (192, 48)" in text
    assert "backbone.tokens has shape (2, 10, 48), expected (10, 48)" in text


def test_cnn_that_shapes_do_not_show(tmp_path: Path) -> None:
    model = network(kernels=[10, 3, 3, 3, 3, 2, 3])
    torch.save({"model": state(model)}, tmp_path / "model.pt")
    assert "CNN's kernels are [10, 3, 3, 3, 3, 2, 3], whose strides weights do not show" in message(
        tmp_path / "model.pt"
    )


@pytest.mark.parametrize("size", [0, 3, 1_000, -1_000])
@pytest.mark.parametrize("zipped", [True, False])
def test_truncated_files(size: int, zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"model": state(network(prenet_depth=1, depth=1))}, path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[:size])
    text = message(path)
    assert any(part in text for part in ("is empty", "truncated", "complete", "no known kind"))


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 1\n")
    assert "Git LFS pointer" in message(path)
    path.write_bytes(b"<!doctype html><html>")
    assert "web page" in message(path)
    path.write_bytes(b"RIFF\x00\x00\x00\x00WAVEfmt ")
    assert "bytes of no known kind" in message(path)
    torch.save(torch.zeros(3), path)
    assert "holds a Tensor, expected the state of a model" in message(path)
    torch.save({"epoch": 3}, path)
    assert "holds no weights of a model (keys: epoch)" in message(path)


@pytest.mark.parametrize(
    ("spec", "layers"),
    [
        ("[(512, 10, 5)] + [(512, 3, 2)] * 2", [(512, 10, 5), (512, 3, 2), (512, 3, 2)]),
        ("[(8,2,1)]", [(8, 2, 1)]),
        ("__import__('os').system('true')", []),
        ("[(8, 2, 1)] * 1000000000", []),
        ("None", []),
        ("(" * 900, []),
    ],
)
def test_cnn_specification_is_not_evaluated(spec: str, layers: list) -> None:
    assert cnn_layers(spec) == layers
