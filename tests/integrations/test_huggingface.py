"""The Hugging Face classes, in transformers itself; `make test-interop` runs these where it is installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model.test_known_heads import CONFIGS, classifier
from model.test_known_heads import LABELS as HEARD
from networks import tiny_config
from safetensors.torch import load_file

from emotion2vec.audio.samples import load_audio
from emotion2vec.checkpoint import load_model, save_model
from emotion2vec.checkpoint.opening import read_source
from emotion2vec.errors import CheckpointError
from emotion2vec.exporting.convert import convert
from emotion2vec.model.config import HeadConfig
from emotion2vec.model.encoder import Emotion2vec

transformers = pytest.importorskip("transformers", reason="needs transformers; `make test-interop` has it")

from emotion2vec.integrations import huggingface  # noqa: E402 (needs transformers)

LABELS = ("angry", "happy", "unuse_0")


@pytest.fixture(scope="module", autouse=True)
def registered() -> None:
    huggingface.register()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small classifier as a Hugging Face folder."""
    base = tmp_path_factory.mktemp("huggingface")
    torch.manual_seed(0)
    model = Emotion2vec(tiny_config().model, LABELS)
    save_model(base / "native", model.config, model.state_dict(), labels=LABELS)
    return convert(base / "native", base / "model", to="huggingface").output


@pytest.fixture(scope="module")
def clips() -> list[np.ndarray]:
    return [np.random.default_rng(i).standard_normal(n).astype(np.float32) for i, n in enumerate((8_000, 12_345))]


def batch(folder: Path, clips: list[np.ndarray]) -> Any:
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    return extractor(clips, sampling_rate=16_000, return_tensors="pt")


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.kind} {c.pooling}")
def test_every_head_goes_there_and_back(
    config: HeadConfig, standardize: bool, clips: list[np.ndarray], tmp_path: Path
) -> None:
    model = classifier(config, standardize=standardize)
    save_model(tmp_path / "ours", model.config, model.state_dict(), labels=HEARD, head=config)
    convert(tmp_path / "ours", tmp_path / "theirs", to="huggingface")
    theirs, report = transformers.AutoModelForAudioClassification.from_pretrained(
        tmp_path / "theirs", output_loading_info=True
    )
    assert not any(report[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    theirs.save_pretrained(tmp_path / "saved")
    expected = [model.predict(clip, 16_000) for clip in clips]
    with torch.no_grad():
        rows = theirs(**batch(tmp_path / "theirs", clips)).logits.softmax(dim=1)
    for row, wanted in zip(rows.tolist(), expected, strict=True):
        found = dict(zip(HEARD, row, strict=True))
        assert found.pop("unuse_0") == 0 and found == pytest.approx(wanted, abs=1e-5)
    for folder in ("theirs", "saved"):
        again = load_model(tmp_path / folder)
        assert again.head is not None and again.head.config == config
        assert again.predict(clips[0], 16_000) == pytest.approx(expected[0], abs=1e-6)


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_weights_in_half_precision_are_computed_with(dtype: str, clips: list[np.ndarray], tmp_path: Path) -> None:
    """As transformers keeps them in the type of the file, and gives float32 samples."""
    config = HeadConfig(pooling="mean+std")
    model = classifier(config, standardize=True)
    save_model(tmp_path / "ours", model.config, model.state_dict(), labels=HEARD, head=config)
    convert(tmp_path / "ours", tmp_path / "half", to="huggingface", dtype=dtype)
    classify = transformers.pipeline("audio-classification", model=str(tmp_path / "half"))
    assert classify.model.dtype == {"fp16": torch.float16, "bf16": torch.bfloat16}[dtype]
    scores = {answer["label"]: answer["score"] for answer in classify(clips[0], top_k=None)}
    assert scores.pop("unuse_0") == 0
    assert scores == pytest.approx(model.predict(clips[0], 16_000), abs=0.02)


def test_values_stay_what_they_are(clips: list[np.ndarray], tmp_path: Path) -> None:
    config = HeadConfig(pooling="mean+std", task="values")
    torch.manual_seed(0)
    model = Emotion2vec(tiny_config().model, ("arousal", "valence"), config).eval()
    save_model(tmp_path / "ours", model.config, model.state_dict(), labels=("arousal", "valence"), head=config)
    convert(tmp_path / "ours", tmp_path / "theirs", to="huggingface")
    expected = model.predict(clips[0], 16_000)
    answers = transformers.pipeline("audio-classification", model=str(tmp_path / "theirs"))(clips[0], top_k=None)
    assert {one["label"]: one["score"] for one in answers} == pytest.approx(expected, abs=1e-5)
    theirs = transformers.AutoModelForAudioClassification.from_pretrained(tmp_path / "theirs")
    truth = torch.tensor([list(expected.values())]) + 2
    with torch.no_grad():
        loss = theirs(**batch(tmp_path / "theirs", clips[:1]), labels=truth).loss
    assert float(loss) == pytest.approx(4, rel=1e-4)


def test_a_head_that_the_folder_does_not_describe_is_named(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "m")
    document = json.loads((folder / "config.json").read_text())
    for head, message in (
        ({"kind": "gpt"}, "head.*kind is 'gpt'"),
        ([1], r"head is \[1\], expected a mapping"),
        ({"kind": "gru"}, "missing head.recurrent"),
    ):
        (tmp_path / "m" / "config.json").write_text(json.dumps({**document, "head": head}))
        with pytest.raises(CheckpointError, match=f"(?s){message}"):
            load_model(tmp_path / "m")


def test_features_are_ours(folder: Path, clips: list[np.ndarray]) -> None:
    model = transformers.AutoModel.from_pretrained(folder)
    with torch.no_grad():
        output = model(**batch(folder, clips), output_hidden_states=True)
    ours = load_model(folder)
    for row, clip in enumerate(clips):
        expected = ours.extract_features(clip, 16_000, layers=True)
        length = len(expected.frames)
        assert np.allclose(output.last_hidden_state[row, :length], expected.frames, atol=1e-5)
        states = torch.stack(output.hidden_states)[1:, row, :length]
        assert expected.layers is not None and np.allclose(states, expected.layers, atol=1e-5)
    assert len(output.hidden_states) == model.config.num_hidden_layers + 1


def test_features_and_scores_are_those_of_funasr(shared: Path, tmp_path: Path) -> None:
    golden = shared / "golden" / "data2vec2_tiny"
    convert(golden / "funasr_model", tmp_path / "model", to="huggingface")
    model = transformers.AutoModel.from_pretrained(tmp_path / "model")
    classify = transformers.pipeline("audio-classification", model=str(tmp_path / "model"))
    answers = load_file(golden / "funasr_outputs.safetensors")
    for clip in json.loads((golden / "funasr_outputs.json").read_text()):
        samples = load_audio(golden / clip["wav"])
        with torch.no_grad():
            frames = model(**batch(tmp_path / "model", [samples])).last_hidden_state[0]
        expected = answers[f"{Path(clip['wav']).stem}/frame"]
        assert float((frames - expected).norm() / expected.norm()) < 1e-5
        scores = {answer["label"]: answer["score"] for answer in classify(samples, top_k=None)}
        wanted = answers[f"{Path(clip['wav']).stem}/scores"]
        assert np.allclose([scores[label] for label in clip["labels"]], wanted, atol=1e-5)


def test_pipeline_gives_our_scores(folder: Path, clips: list[np.ndarray]) -> None:
    answers = transformers.pipeline("audio-classification", model=str(folder))(clips[0], top_k=None)
    scores = {answer["label"]: answer["score"] for answer in answers}
    expected = load_model(folder).predict(clips[0], 16_000)
    assert scores.pop("unuse_0") == 0.0
    assert scores == pytest.approx(expected, abs=1e-5)


def test_what_transformers_saves_is_what_we_write(folder: Path, tmp_path: Path) -> None:
    model = transformers.AutoModelForAudioClassification.from_pretrained(folder)
    model.save_pretrained(tmp_path / "saved")
    transformers.AutoFeatureExtractor.from_pretrained(folder).save_pretrained(tmp_path / "saved")
    assert {p.name for p in (tmp_path / "saved").iterdir()} == {p.name for p in folder.iterdir()}
    ours, theirs = (load_file(path / "model.safetensors") for path in (folder, tmp_path / "saved"))
    assert ours.keys() == theirs.keys() and all(torch.equal(value, theirs[name]) for name, value in ours.items())
    for name in ("config.json", "preprocessor_config.json"):
        written, saved = (json.loads((path / name).read_text()) for path in (folder, tmp_path / "saved"))
        assert {key: saved[key] for key in written} == written
    assert (tmp_path / "saved" / "README.md").read_text().startswith("---\nlibrary_name: transformers")
    assert read_source(tmp_path / "saved").labels == LABELS


def test_a_model_without_head_gets_a_new_one(folder: Path, tmp_path: Path) -> None:
    transformers.AutoModel.from_pretrained(folder).save_pretrained(tmp_path / "base")
    assert "head.weight" not in read_source(tmp_path / "base").student
    model = transformers.AutoModelForAudioClassification.from_pretrained(tmp_path / "base", num_labels=5)
    assert model.head.weight.shape[0] == 5 and 0.01 < float(model.head.weight.std()) < 0.04
    assert torch.equal(model.network.backbone.slopes, load_model(folder).backbone.slopes)


def test_trainer_fine_tunes(folder: Path, clips: list[np.ndarray], tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="needs accelerate, as transformers' Trainer does")
    model = transformers.AutoModelForAudioClassification.from_pretrained(folder)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    data = [
        {"input_values": extractor(clip, return_tensors="np")["input_values"][0], "labels": n % 2}
        for n, clip in enumerate(clips * 4)
    ]

    def collate(rows: list[dict]) -> Any:
        padded = extractor.pad({"input_values": [row["input_values"] for row in rows]}, return_tensors="pt")
        return {**padded, "labels": torch.tensor([row["labels"] for row in rows])}

    arguments = transformers.TrainingArguments(
        str(tmp_path / "out"), max_steps=8, per_device_train_batch_size=4, learning_rate=1e-3, logging_steps=1,
        report_to=[], use_cpu=True, save_strategy="no", lr_scheduler_type="constant",
    )  # fmt: skip
    trainer = transformers.Trainer(model, arguments, train_dataset=data, data_collator=collate)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    trainer.save_model(str(tmp_path / "tuned"))
    tuned = load_model(tmp_path / "tuned")
    assert tuned.head is not None and not torch.equal(tuned.head.weight, before["network.head.weight"])


def test_one_line_makes_our_models_known(folder: Path) -> None:
    script = f"""
import transformers
from emotion2vec.integrations.huggingface import register
def read(): return type(transformers.AutoModel.from_pretrained({str(folder)!r})).__module__
try: print(read())
except ValueError: print("unknown")
register(), register()
print(read())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, input="")
    assert done.stdout.split()[-2:] == ["unknown", "emotion2vec.integrations.huggingface.modeling"]


@pytest.mark.parametrize("trusted", [True, False])
def test_without_it_the_user_must_trust_the_file(folder: Path, trusted: bool, tmp_path: Path) -> None:
    script = f"""
import transformers
print(type(transformers.AutoModel.from_pretrained({str(folder)!r}, trust_remote_code={trusted})).__module__)
"""
    environment = {**os.environ, "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    if trusted:
        assert done.stdout.strip() == "emotion2vec.integrations.huggingface.modeling", done.stderr
    else:
        assert done.returncode and "trust_remote_code=True" in done.stderr


def test_push_to_hub_uploads_our_card(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    pushed = []
    repository = type("Repository", (), {"repo_id": "owner/name"})()
    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", lambda *_, **__: repository)
    monkeypatch.setattr(huggingface_hub.HfApi, "file_exists", lambda *_, **__: False)
    monkeypatch.setattr(huggingface_hub.ModelCard, "push_to_hub", lambda self, *_, **__: pushed.append(str(self)))
    monkeypatch.setattr(transformers.PreTrainedModel, "push_to_hub", lambda self, name, **_: name)
    model = transformers.AutoModelForAudioClassification.from_pretrained(folder)
    assert model.push_to_hub("name") == "owner/name"
    assert "angry, happy, unuse_0" in pushed[0]


def test_dimensions_under_their_usual_names() -> None:
    config = huggingface.Emotion2vecHFConfig(width=64, heads=4)
    assert (config.hidden_size, config.num_attention_heads, config.num_hidden_layers) == (64, 4, 12)
