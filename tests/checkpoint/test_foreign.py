"""Folders of other speech encoders: names, heads, files, conversion there and back, and what is wrong with them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from foreign import KINDS, expected_layers, extractor, network, quiet_clip, write_encoder
from networks import tiny_config
from safetensors.torch import load_file, save_file

from emotion2vec.checkpoint import load_model, save_model
from emotion2vec.checkpoint.info import describe_model
from emotion2vec.checkpoint.opening import read_source
from emotion2vec.errors import CheckpointError, ConfigError
from emotion2vec.exporting.convert import convert
from emotion2vec.model.config import HeadConfig
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.model.fingerprint import weights_hash
from emotion2vec.model.known_heads import build_head
from emotion2vec.model.speech import SpeechEncoder
from emotion2vec.pretrain.network import Pretrainer
from emotion2vec.pretrain.warm_start import warm_start
from emotion2vec.tasks.scaling import Scaling
from emotion2vec.training.config import InitConfig

transformers = pytest.importorskip("transformers")
CLIP = quiet_clip(12_345)
LABELS = {0: "angry", 1: "calm", 2: "sad"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_encoder(tmp_path / "hubert", "hubert base")
    return tmp_path / "hubert"


def change(path: Path, **values: Any) -> None:
    """Change entries of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def layers(model: SpeechEncoder) -> np.ndarray:
    found = model.extract_features(CLIP, 16_000, layers=True).layers
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("kind", "task", "left"),
    [
        ("wav2vec2 base", "ForCTC", ["lm_head.bias", "lm_head.weight", "masked_spec_embed"]),
        ("wav2vec2 large", "ForPreTraining", ["quantizer.codevectors", "project_hid.weight"]),
        ("hubert large", "ForCTC", ["lm_head.weight"]),
        ("wavlm base", "ForXVector", ["objective.weight", "classifier.weight"]),
        ("data2vec-audio", "ForAudioFrameClassification", ["classifier.weight"]),
        ("conformer rotary", "ForCTC", ["encoder.pos_conv_embed.conv.bias"]),
    ],
)
def test_the_encoder_within_a_model_for_a_task(kind: str, task: str, left: list[str], tmp_path: Path) -> None:
    model = write_encoder(tmp_path / "model", kind, task, vocab_size=9)
    source = read_source(tmp_path / "model")
    assert set(left) <= set(source.left) and not source.labels
    expected = expected_layers(getattr(model, model.base_model_prefix), CLIP)
    np.testing.assert_allclose(layers(load_model(tmp_path / "model")), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["wav2vec2 base", "wavlm large", "data2vec-audio"])
def test_a_classifier_becomes_a_head(kind: str, tmp_path: Path) -> None:
    names = {"id2label": LABELS, "label2id": {label: number for number, label in LABELS.items()}}
    model = write_encoder(tmp_path / "model", kind, "ForSequenceClassification", classifier_proj_size=12, **names)
    loaded = load_model(tmp_path / "model")
    inputs = extractor()(CLIP, sampling_rate=16_000, return_tensors="pt").input_values
    with torch.no_grad():
        expected = model(inputs).logits[0].softmax(dim=0)
    found = loaded.predict(CLIP, 16_000)
    assert list(found) == list(LABELS.values())
    np.testing.assert_allclose(list(found.values()), expected, atol=1e-5)
    convert(tmp_path / "model", tmp_path / "native", to="native")
    assert load_model(tmp_path / "native").predict(CLIP, 16_000) == found
    convert(tmp_path / "native", tmp_path / "back", to="huggingface")
    back = transformers.AutoModelForAudioClassification.from_pretrained(tmp_path / "back").eval()
    with torch.no_grad():
        again = back(inputs).logits[0].softmax(dim=0)
    torch.testing.assert_close(again, expected, atol=1e-6, rtol=0)
    assert back.config.id2label == LABELS


def test_a_classifier_that_weighs_layers_is_left_out_with_a_note(tmp_path: Path) -> None:
    write_encoder(tmp_path / "m", "hubert base", "ForSequenceClassification", use_weighted_layer_sum=True)
    source = read_source(tmp_path / "m")
    assert not source.labels and "layer_weights" in source.left
    assert any("its head is left out: it weighs" in note for note in source.notes)


def test_old_names_pickles_and_shards_are_the_same_model(folder: Path) -> None:
    expected = layers(load_model(folder))
    weights = load_file(folder / "model.safetensors")
    assert any(name.endswith("parametrizations.weight.original0") for name in weights)
    old = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): value
        for name, value in weights.items()
    }
    (folder / "model.safetensors").unlink()
    torch.save(old, folder / "pytorch_model.bin")
    np.testing.assert_array_equal(layers(load_model(folder)), expected)
    assert read_source(folder).pickle
    (folder / "pytorch_model.bin").unlink()
    names = sorted(weights)
    for whole, write in (("pytorch_model.bin", torch.save), ("model.safetensors", save_file)):
        shards = [whole.replace(".", f"-0000{number}-of-00002.") for number in (1, 2)]
        for half, shard in enumerate(shards):
            write({name: weights[name] for name in names[half::2]}, folder / shard)
        index = {"weight_map": {name: shards[place % 2] for place, name in enumerate(names)}}
        (folder / f"{whole}.index.json").write_text(json.dumps(index))
        np.testing.assert_array_equal(layers(load_model(folder)), expected)
    (folder / shards[1]).unlink()
    with pytest.raises(
        CheckpointError, match=r"index\.json: names model-00002-of-00002\.safetensors, which is not there"
    ):
        load_model(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_conversion_to_a_native_folder_and_back(kind: str, tmp_path: Path) -> None:
    model = write_encoder(tmp_path / "theirs", kind)
    convert(tmp_path / "theirs", tmp_path / "ours", to="native")
    ours = load_model(tmp_path / "ours")
    assert weights_hash(ours) == weights_hash(load_model(tmp_path / "theirs"))
    assert json.loads((tmp_path / "ours" / "model.json").read_text())["foreign"]["type"] == model.config.model_type
    convert(tmp_path / "ours", tmp_path / "back", to="huggingface")
    again, report = transformers.AutoModel.from_pretrained(tmp_path / "back", output_loading_info=True)
    allowed = {"masked_spec_embed"} if kind == "unispeech-sat" else set()
    assert not report["unexpected_keys"] and not report["mismatched_keys"]
    assert {key for key in report["missing_keys"] if "pos_conv_embed" not in key or "conformer" not in kind} <= allowed
    np.testing.assert_array_equal(expected_layers(again.eval(), CLIP), expected_layers(model, CLIP))
    prepared = transformers.AutoFeatureExtractor.from_pretrained(tmp_path / "back")
    assert prepared.do_normalize and prepared.return_attention_mask == ours.config.pads
    assert "# " + model.config.model_type in (tmp_path / "back" / "README.md").read_text()


def tuned(model: SpeechEncoder, config: HeadConfig, folder: Path) -> SpeechEncoder:
    """The model with a standardizing head of its own, saved."""
    model.head = build_head(
        config, model.config.width, len(model.blocks), ["a", "b", "c"], torch.Generator().manual_seed(0)
    )
    random = np.random.default_rng(0)
    model.head.standardize(Scaling(random.standard_normal(32), random.uniform(0.5, 2, 32)))
    save_model(folder, model.config, model.state_dict(), labels=model.head.labels, head=config)
    return model


@pytest.mark.parametrize("kind", ["mean", "two"])
def test_a_fine_tuned_model_is_a_folder_like_any_other(kind: str, folder: Path, tmp_path: Path) -> None:
    """Linear heads go into other formats multiplied out, with what they standardize by."""
    config = HeadConfig(kind=kind, hidden=7)
    foreign = tuned(load_model(folder), config, tmp_path / "foreign")
    own = tuned(Emotion2vec(tiny_config().model).eval(), config, tmp_path / "own")
    inputs = extractor()(CLIP, sampling_rate=16_000, return_tensors="pt").input_values
    assert load_model(tmp_path / "foreign").predict(CLIP, 16_000) == foreign.predict(CLIP, 16_000)
    convert(tmp_path / "foreign", tmp_path / "theirs", to="huggingface")
    back = transformers.AutoModelForAudioClassification.from_pretrained(tmp_path / "theirs").eval()
    with torch.no_grad():
        found = back(inputs).logits[0].softmax(dim=0)
    np.testing.assert_allclose(found, list(foreign.predict(CLIP, 16_000).values()), atol=1e-5)
    done = convert(tmp_path / "own", tmp_path / "funasr", to="funasr")
    assert any("multiplied out" in note for note in done.notes)
    expected = own.predict(CLIP, 16_000)
    assert load_model(tmp_path / "funasr").predict(CLIP, 16_000) == pytest.approx(expected, abs=1e-5)


def test_conversion_to_formats_of_ours_alone(folder: Path, tmp_path: Path) -> None:
    for to in ("funasr", "onnx-ready"):
        with pytest.raises(CheckpointError, match=f"holds a hubert of transformers, and {to} holds networks of ours"):
            convert(folder, tmp_path / to, to=to)


def test_a_cut_encoder_gives_the_same_first_layers(folder: Path, tmp_path: Path) -> None:
    expected = layers(load_model(folder))
    convert(folder, tmp_path / "cut", to="native", keep_layers=2)
    np.testing.assert_array_equal(layers(load_model(tmp_path / "cut")), expected[:2])
    write_encoder(tmp_path / "large", "hubert large")
    expected = layers(load_model(tmp_path / "large"))
    convert(tmp_path / "large", tmp_path / "small", to="native", keep_layers=2)
    cut = load_model(tmp_path / "small")
    np.testing.assert_array_equal(layers(cut), expected[:2])
    own = [id(parameter) for part in cut.parts() for parameter in part.parameters()]
    assert set(own) == {id(parameter) for parameter in cut.parameters()}
    with pytest.raises(CheckpointError, match="its last layer norm went when it was cut"):
        convert(tmp_path / "small", tmp_path / "none", to="huggingface")
    with pytest.raises(ConfigError, match="keep_layers is 7, expected 1 to 3"):
        convert(folder, tmp_path / "none", to="native", keep_layers=7)


def test_numbers_that_count_stay_whole_when_weights_are_rounded(tmp_path: Path) -> None:
    write_encoder(tmp_path / "m", "hubert with batch norm")
    convert(tmp_path / "m", tmp_path / "half", to="native", dtype="fp16")
    kinds = {value.dtype for value in load_file(tmp_path / "half" / "model.safetensors").values()}
    assert kinds == {torch.float16, torch.int64}
    assert {value.dtype for value in load_model(tmp_path / "half").state_dict().values()} == {
        torch.float32,
        torch.int64,
    }


def test_info(folder: Path) -> None:
    facts = describe_model(folder)
    assert facts.format == "Hugging Face (transformers), safetensors (float32)"
    assert facts.model["type"] == "hubert" and facts.frames_per_second == 50
    numbers = sum(p.numel() for name, p in network("hubert base").named_parameters() if "masked" not in name)
    assert facts.parameters["total"] == numbers and facts.left == ("masked_spec_embed",)


def test_pretraining_cannot_start_from_it(folder: Path) -> None:
    pretrainer = Pretrainer(tiny_config())
    with pytest.raises(CheckpointError, match="holds a hubert of transformers, expected a network of ours"):
        warm_start(pretrainer, InitConfig(from_=str(folder)), print)


def test_a_prefix_before_a_folder_changes_nothing(folder: Path, tmp_path: Path) -> None:
    assert weights_hash(load_model(f"hf:{folder}")) == weights_hash(load_model(folder))
    own = Emotion2vec(tiny_config().model)
    save_model(tmp_path / "own", own.config, own.state_dict())
    assert isinstance(load_model(f"hf:{tmp_path / 'own'}"), Emotion2vec)


def bert(folder: Path) -> None:
    change(folder / "config.json", model_type="bert")


def fewer_blocks(folder: Path) -> None:
    change(folder / "config.json", num_hidden_layers=5)


def other_width(folder: Path) -> None:
    change(folder / "config.json", hidden_size=64)


def no_heads(folder: Path) -> None:
    change(folder / "config.json", num_attention_heads=0)


def wrong_type(folder: Path) -> None:
    change(folder / "config.json", hidden_size="big")


def odd_strides(folder: Path) -> None:
    change(folder / "config.json", conv_stride=[5, 2])


def cut_off(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def not_numbers(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["encoder.layers.1.layer_norm.bias"][3] = float("nan")
    save_file(weights, folder / "model.safetensors")


def other_rate(folder: Path) -> None:
    change(folder / "preprocessor_config.json", sampling_rate=8_000)


def no_rate(folder: Path) -> None:
    change(folder / "preprocessor_config.json", sampling_rate="fast")


def normalizes_maybe(folder: Path) -> None:
    change(folder / "preprocessor_config.json", do_normalize="yes")


def broken_preprocessor(folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text("{")


def no_such_activation(folder: Path) -> None:
    change(folder / "config.json", hidden_act="nosuch")


def heads_that_do_not_divide(folder: Path) -> None:
    change(folder / "config.json", num_attention_heads=5)


def groups_that_do_not_divide(folder: Path) -> None:
    change(folder / "config.json", num_conv_pos_embedding_groups=5)


def too_wide_for_memory(folder: Path) -> None:
    change(folder / "config.json", hidden_size=3_200_000)


def too_much_dropout(folder: Path) -> None:
    change(folder / "config.json", hidden_dropout=7.0)


def whole_numbers(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    name = "encoder.layers.1.feed_forward.output_dense.weight"
    save_file(weights | {name: weights[name].to(torch.int8)}, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (bert, r"config\.json: model_type is 'bert', expected a speech encoder: emotion2vec, whisper, wav2vec2"),
        (fewer_blocks, "the weights hold 3 Transformer blocks of hubert, expected 5, as config.json says"),
        (other_width, r"has shape \(32\D.*expected \(64"),
        (no_heads, "transformers makes no hubert of these settings|num_attention_heads is 0"),
        (wrong_type, "transformers makes no hubert of these settings|hidden_size is 'big'"),
        (odd_strides, "transformers makes no hubert of these settings|conv_stride"),
        (cut_off, r"model\.safetensors"),
        (no_config, "this folder is no model"),
        (no_weights, r"holds no weights, expected model\.safetensors"),
        (not_numbers, r"1 of 32 numbers of network\.encoder\.layers\.1\.layer_norm\.bias are NaN or infinite"),
        (other_rate, r"preprocessor_config\.json: sampling_rate is 8000, expected 16000"),
        (no_rate, r"preprocessor_config\.json: sampling_rate is 'fast', expected 16000"),
        (normalizes_maybe, r"do_normalize is 'yes', expected true or false"),
        (broken_preprocessor, r"preprocessor_config\.json: cannot be read as JSON"),
        (no_such_activation, "transformers makes no hubert of its settings: KeyError: 'nosuch'"),
        (heads_that_do_not_divide, "transformers makes no hubert of its settings: ValueError: embed_dim must be"),
        (groups_that_do_not_divide, "transformers makes no hubert of its settings: ValueError: in_channels must be"),
        (too_wide_for_memory, r"has shape .*, expected \(3200000"),
        (too_much_dropout, "transformers makes no hubert of its settings: ValueError: dropout probability"),
        (whole_numbers, r"layers\.1\.feed_forward\.output_dense\.weight has int8 numbers, expected floating-point"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_wrong_is_said(harm: Any, message: str, folder: Path) -> None:
    harm(folder)
    with pytest.raises(CheckpointError, match=f"(?s){message}") as raised:
        load_model(folder)
    assert str(folder) in str(raised.value)


def test_numbers_that_are_none_are_said_of_our_own_formats_too(tmp_path: Path) -> None:
    model = Emotion2vec(tiny_config().model)
    with torch.no_grad():
        model.backbone.blocks[0].fc1.weight[0, 0] = float("inf")
    save_model(tmp_path / "m", model.config, model.state_dict())
    for use in (load_model, lambda path: convert(path, tmp_path / "copy", to="native")):
        with pytest.raises(CheckpointError, match=r"1 of 2048 numbers of backbone\.blocks\.0\.fc1\.weight are NaN"):
            use(tmp_path / "m")


def test_without_a_feature_extractor_audio_is_normalized_and_that_is_said(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()
    source = read_source(folder)
    assert source.config.normalizes and any("taken to be normalized" in note for note in source.notes)


def test_audio_is_heard_as_recorded_where_the_folder_says_so(folder: Path) -> None:
    change(folder / "preprocessor_config.json", do_normalize=False)
    model = load_model(folder)
    with torch.no_grad():
        expected = network("hubert base")(torch.from_numpy(CLIP)[None]).last_hidden_state[0]
    np.testing.assert_allclose(model.extract_features(CLIP, 16_000).frames, expected, atol=1e-5)


def test_native_folders_say_what_is_wrong_with_them(folder: Path, tmp_path: Path) -> None:
    convert(folder, tmp_path / "native", to="native")
    for foreign in ("hubert", {"type": "bert", "settings": {}, "normalizes": True}, {"type": "hubert"}):
        shutil.rmtree(tmp_path / "bad", ignore_errors=True)
        shutil.copytree(tmp_path / "native", tmp_path / "bad")
        change(tmp_path / "bad" / "model.json", foreign=foreign)
        with pytest.raises(CheckpointError, match=r"model\.json: (foreign is .hubert|the encoder is of type)"):
            load_model(tmp_path / "bad")


def test_without_transformers_the_command_is_given(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from emotion2vec.model import foreign_config

    assert "transformers" in sys.modules

    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(foreign_config, "import_module", absent)
    with pytest.raises(ConfigError, match=r"pip install 'emotion2vec\[transformers\]'"):
        load_model(folder)


def test_a_repository_with_pickles_alone_is_downloaded_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    asked: list[list[str]] = []

    def snapshot_download(repository: str, **arguments: Any) -> str:
        asked.append(arguments["allow_patterns"])
        if "pytorch_model.bin" in arguments["allow_patterns"]:
            torch.save(weights, folder / "pytorch_model.bin")
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert len(load_model("hf:owner/hubert").blocks) == 3 and len(asked) == 2
