"""FunASR and Hugging Face folders, names on hubs, and what info says."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from checkpoint.files import network, settings, state
from safetensors.torch import save_file

from emotion2vec.checkpoint import hub, load_model, save_model
from emotion2vec.checkpoint.info import describe_model
from emotion2vec.checkpoint.opening import read_source
from emotion2vec.errors import CheckpointError, ConfigError
from emotion2vec.settings import to_dict

LABELS = ("angry", "unuse_0", "happy")


def message(source: Path | str) -> str:
    with pytest.raises(CheckpointError) as raised:
        load_model(source)
    return str(raised.value)


@pytest.fixture
def funasr(tmp_path: Path) -> Path:
    model = network(LABELS, prenet_depth=1, depth=1)
    torch.save({"model": state(model, wrapper="d2v_model.")}, tmp_path / "model.pt")
    config = {"model": "Emotion2vec", "model_conf": settings(model.config), "scope_map": ["d2v_model.", "none"]}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "tokens.txt").write_text("\n".join(LABELS) + "\n")
    return tmp_path


def test_unused_labels_get_nothing(funasr: Path) -> None:
    model = load_model(funasr)
    assert model.head is not None and model.head.labels == LABELS
    scores = model.predict(torch.randn(8_000), 16_000)
    assert list(scores) == ["angry", "happy"] and sum(scores.values()) == pytest.approx(1)


def test_faults_of_funasr_folders(funasr: Path) -> None:
    (funasr / "tokens.txt").write_text("angry\n")
    assert "tokens.txt: 1 labels, expected 3" in message(funasr)
    (funasr / "tokens.txt").unlink()
    assert "expected the 3 labels of the head" in message(funasr)
    (funasr / "configuration.json").write_text(json.dumps({"file_path_metas": {"init_param": "../model.pt"}}))
    assert "init_param is '../model.pt', expected a file beside it" in message(funasr)
    (funasr / "configuration.json").unlink()
    (funasr / "model.pt").rename(funasr / "weights.pt")
    assert "holds no weights, expected one of model.pt, emotion2vec_base.pt" in message(funasr)
    (funasr / "config.yaml").write_text("model: Paraformer\n")
    assert "model is 'Paraformer', expected a FunASR folder of model Emotion2vec" in message(funasr)
    (funasr / "config.yaml").write_text("model: [")
    assert "cannot be read as YAML" in message(funasr)


@pytest.fixture
def huggingface(tmp_path: Path) -> Path:
    model = network(LABELS, prenet_depth=1, depth=1)
    save_file({f"network.{name}": value for name, value in model.state_dict().items()}, tmp_path / "model.safetensors")
    document = {"model_type": "emotion2vec", **to_dict(model.config), "dtype": "float32"}
    document["id2label"] = {str(number): label for number, label in enumerate(LABELS)}
    (tmp_path / "config.json").write_text(json.dumps(document))
    return tmp_path


def test_hugging_face_folder(huggingface: Path) -> None:
    expected = network(LABELS, prenet_depth=1, depth=1)
    found = load_model(huggingface)
    assert found.config == expected.config and found.head is not None and found.head.labels == LABELS
    assert all(torch.equal(value, expected.state_dict()[name]) for name, value in found.state_dict().items())
    assert read_source(huggingface).format == "huggingface"
    weights = {f"network.{name}": value for name, value in expected.state_dict().items()}
    names = sorted(weights)
    (huggingface / "model.safetensors").unlink()
    files = {name: f"model-0000{1 + (number > 9)}-of-00002.safetensors" for number, name in enumerate(names)}
    for file in set(files.values()):
        save_file({name: weights[name] for name in names if files[name] == file}, huggingface / file)
    (huggingface / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    sharded = load_model(huggingface).state_dict()
    assert all(torch.equal(value, sharded[name]) for name, value in expected.state_dict().items())


def test_faults_of_hugging_face_folders(huggingface: Path) -> None:
    document = json.loads((huggingface / "config.json").read_text())
    (huggingface / "config.json").write_text(json.dumps(document | {"id2label": {"0": "a"}}))
    assert "id2label is" in message(huggingface) and "labels 0 to 2" in message(huggingface)
    del document["heads"], document["depth"]
    (huggingface / "config.json").write_text(json.dumps(document))
    assert "lacks heads, depth" in message(huggingface)
    (huggingface / "config.json").write_text(json.dumps({"model_type": "bert"}))
    assert "model_type is 'bert', expected a speech encoder: emotion2vec, whisper" in message(huggingface)


class Client:
    """Stands in for a hub's client."""

    def __init__(self, folder: Path | None, cached: bool = False):
        self.folder, self.cached, self.calls = folder, cached, []  # type: Any, bool, list[Any]

    def snapshot_download(self, repository: str, **arguments: Any) -> str:
        self.calls.append((repository, arguments))
        if self.folder is None or (self.cached and not arguments.get("local_files_only")):
            raise ConnectionError("no network\nand more lines")
        return str(self.folder)


def install(monkeypatch: pytest.MonkeyPatch, package: str, client: Client) -> None:
    module = types.ModuleType(package)
    module.snapshot_download = client.snapshot_download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, package, module)


@pytest.mark.parametrize(
    ("name", "package", "repository", "revision"),
    [
        ("hf:owner/name", "huggingface_hub", "owner/name", "main"),
        ("hf:owner/name@abc123", "huggingface_hub", "owner/name", "abc123"),
        ("ms:owner/name.v1", "modelscope", "owner/name.v1", "master"),
        ("base", "modelscope", "iic/emotion2vec_base", "v2.0.4"),
        ("plus-large", "modelscope", "iic/emotion2vec_plus_large", "v2.0.5"),
        ("plus-seed@v9", "modelscope", "iic/emotion2vec_plus_seed", "v9"),
    ],
)
def test_names_on_hubs(
    name: str, package: str, repository: str, revision: str, funasr: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(funasr)
    install(monkeypatch, package, client)
    assert load_model(name).config.depth == 1
    (asked, arguments), = client.calls  # fmt: skip
    assert (asked, arguments["revision"]) == (repository, revision)
    assert {"config.yaml", "model.pt", "tokens.txt", "config.json"} <= set(arguments["allow_patterns"])
    assert not any(pattern.endswith((".py", "*", ".wav")) and "LICENSE" not in pattern
                   for pattern in arguments["allow_patterns"])  # fmt: skip


def test_offline(funasr: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, "modelscope", Client(funasr, cached=True))
    assert load_model("plus-base").config.depth == 1
    install(monkeypatch, "modelscope", Client(None))
    text = message("plus-base")
    assert "plus-base: iic/emotion2vec_plus_base at revision master" in text
    assert "ConnectionError: no network" in text and "more lines" not in text and "Offline?" in text


def test_the_real_client_finds_its_cache_offline(funasr: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """huggingface_hub's own cache layout, in a process of its own that may not use the network."""
    pytest.importorskip("huggingface_hub")
    home = tmp_path_factory.mktemp("home")
    repository = home / "hub" / "models--owner--name"
    snapshot = repository / "snapshots" / ("a" * 40)
    snapshot.parent.mkdir(parents=True)
    shutil.copytree(funasr, snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    script = "import emotion2vec; print(emotion2vec.load_model('hf:owner/name').config.depth)"
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "1", done.stderr


def test_missing_client_and_bad_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ConfigError, match="pip install huggingface_hub"):
        load_model("hf:owner/name")
    for name in ("hf:name", "hf:../x/y", "ms:a/b@..", "hf:"):
        assert "expected hf:owner/name" in message(name)
    assert set(hub.SHORT_NAMES) == {"base", "plus-seed", "plus-base", "plus-large"}
    assert "plus-large" in message("plus-larg")


def test_a_path_wins_over_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = network(prenet_depth=1, depth=1)
    save_model(tmp_path / "base", model.config, model.state_dict())
    monkeypatch.chdir(tmp_path)
    assert load_model("base").config.depth == 1


def test_info(funasr: Path, huggingface: Path) -> None:
    (funasr / "README.md").write_text("---\nlicense: other\nlicense_name: model-license\ntasks:\n- x\n---\n# Card\n")
    facts = describe_model(funasr)
    assert facts.format == "Hugging Face, safetensors (float32)"  # config.json is there too, in this test
    (funasr / "config.json").unlink()
    facts = describe_model(funasr)
    assert facts.format == "FunASR, pickle (float32)" and facts.pickle.startswith("yes")
    assert facts.labels == ("angry", "unuse_0", "happy") and facts.licence == "model-license"
    assert facts.parameters["head"] == 3 * 48 + 3
    expected = hashlib.sha256((funasr / "model.pt").read_bytes()).hexdigest()
    assert facts.files["model.pt"].sha256 == expected
    (funasr / "README.md").unlink()
    assert describe_model(funasr).licence == "unknown"
    (funasr / "LICENSE").write_text("\nMIT License\n")
    assert describe_model(funasr).licence == "MIT License"


def test_info_does_not_describe_what_does_not_load(funasr: Path) -> None:
    weights = torch.load(funasr / "model.pt")
    del weights["model"]["d2v_model.blocks.0.norm1.bias"]
    torch.save(weights, funasr / "model.pt")
    with pytest.raises(CheckpointError, match=r"missing backbone\.blocks\.0\.norm1\.bias"):
        describe_model(funasr)
