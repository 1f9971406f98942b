"""FunASR's and ModelScope's folders of emotion2vec models, read and written without FunASR."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import yaml

from emotion2vec.checkpoint.card import model_card
from emotion2vec.checkpoint.formats.data2vec.from_settings import find_settings
from emotion2vec.checkpoint.formats.data2vec.names import state_to_fairseq
from emotion2vec.checkpoint.formats.data2vec.to_settings import model_settings
from emotion2vec.checkpoint.formats.fairseq import assemble, open_weights
from emotion2vec.checkpoint.source import Source
from emotion2vec.checkpoint.weights import decoder_names, plain_tensors, split_head
from emotion2vec.documents import MOST_YAML, parse_yaml, read_bytes, read_json
from emotion2vec.errors import CheckpointError
from emotion2vec.files import complete_folder

CONFIG_FILE = "config.yaml"
CONFIGURATION_FILE = "configuration.json"
WEIGHTS_FILES = ("model.pt", "emotion2vec_base.pt")
TOKENS_FILE = "tokens.txt"
PREFIX = "d2v_model."
"""In front of every weight but the head's in folders of ours; `scope_map` tells FunASR to take it off."""


def read_funasr(folder: Path) -> Source:
    """Read a folder with `config.yaml`, the weights, and `tokens.txt` where there is a head.

    Raises:
        CheckpointError: it is another kind of model, or incomplete, or does not fit itself.
    """
    config = read_yaml(folder / CONFIG_FILE)
    if str(config.get("model")) != "Emotion2vec":
        raise CheckpointError(
            f"{folder / CONFIG_FILE}: model is {config.get('model')!r}, expected a FunASR folder of model Emotion2vec"
        )
    model = config.get("model_conf")
    if not isinstance(model, dict):
        raise CheckpointError(f"{folder / CONFIG_FILE}: model_conf is missing, expected the settings of the network")
    settings = find_settings({"cfg": {"model": model, "task": {"normalize": model.get("normalize", True)}}})
    file = open_weights(_weights_file(folder))
    source = assemble(file, settings, "funasr", _scope(config, folder))
    source.path = folder
    head = source.student.get("head.weight")
    if head is not None:
        source.labels = _labels(folder, len(head))
    return source


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file of plain containers.

    Raises:
        CheckpointError: it is no such file.
    """
    try:
        content = parse_yaml(read_bytes(path, MOST_YAML))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as YAML: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, expected a mapping of settings")
    return content


def _scope(config: dict[str, Any], folder: Path) -> dict[str, str]:
    """`scope_map`: prefixes in the file and what they become, alternating; `none` is no prefix."""
    flat = config.get("scope_map") or []
    if not isinstance(flat, list) or len(flat) % 2:
        raise CheckpointError(f"{folder / CONFIG_FILE}: scope_map is {flat!r}, expected pairs of prefixes")
    prefixes = ["" if str(prefix).lower() == "none" else str(prefix) for prefix in flat]
    return {old: new for old, new in zip(prefixes[::2], prefixes[1::2], strict=True) if old}


def _weights_file(folder: Path) -> Path:
    """The file that `configuration.json` names inside the folder, or one of the usual names."""
    names = list(WEIGHTS_FILES)
    try:
        metas = read_json(folder / CONFIGURATION_FILE).get("file_path_metas") or {}
        named = metas.get("init_param")
    except FileNotFoundError:
        named = None
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{folder / CONFIGURATION_FILE}: cannot be read as JSON: {error}") from error
    if isinstance(named, str):
        if Path(named).name != named:
            raise CheckpointError(f"{folder / CONFIGURATION_FILE}: init_param is {named!a}, expected a file beside it")
        names.insert(0, named)
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise CheckpointError(f"{folder}: holds no weights, expected one of {', '.join(dict.fromkeys(names))}")


def _labels(folder: Path, outputs: int) -> tuple[str, ...]:
    path = folder / TOKENS_FILE
    try:
        labels = read_bytes(path).decode("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read, expected the {outputs} labels of the head: {error}") from error
    labels = [label.rstrip() for label in labels]
    while labels and not labels[-1]:
        labels.pop()
    if len(labels) != outputs:
        raise CheckpointError(f"{path}: {len(labels)} labels, expected {outputs}, one for each output of the head")
    return tuple(labels)


def write_funasr(source: Source, folder: Path) -> list[str]:
    """Write `config.yaml`, `configuration.json`, `model.pt`, a card and, with a head, `tokens.txt`.

    Returns:
        What a user should know about what was left out.

    Raises:
        CheckpointError: labels that FunASR's `tokens.txt` cannot hold, or dimensions that its settings cannot say.
    """
    _check_labels(source)
    network = model_settings(source)
    head, encoder = split_head(source.student)
    encoder = state_to_fairseq(encoder | decoder_names(source.decoder))
    weights = {PREFIX + name: value for name, value in encoder.items()} | state_to_fairseq(head)
    settings: dict[str, Any] = {
        "model": "Emotion2vec",
        "model_conf": {"_name": None, **network, "skip_ema": True, "normalize": True},
        "scope_map": [PREFIX, "none"],
    }
    files = {"init_param": WEIGHTS_FILES[0], "config": CONFIG_FILE}
    if source.labels:
        settings["tokenizer"] = "CharTokenizer"
        # FunASR wants one of the labels to stand for what it does not know; nothing of an emotion model reads it.
        unknown = "<unk>" if "<unk>" in source.labels else source.labels[-1]
        settings["tokenizer_conf"] = {"unk_symbol": unknown, "split_with_space": True}
        files |= {"tokenizer_conf": {"token_list": TOKENS_FILE}}  # type: ignore[dict-item]
    configuration = {
        "framework": "pytorch",
        "task": "emotion-recognition",
        "model": {"type": "funasr"},
        "pipeline": {"type": "funasr-pipeline"},
        "file_path_metas": files,
    }
    with complete_folder(folder) as partial:
        with open(partial / WEIGHTS_FILES[0], "wb") as stream:  # torch's own does not say why it failed
            torch.save({"model": plain_tensors(weights)}, stream)
        text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
        (partial / CONFIG_FILE).write_text(text, encoding="utf-8")
        (partial / CONFIGURATION_FILE).write_text(json.dumps(configuration, indent=1) + "\n", encoding="utf-8")
        if source.labels:
            (partial / TOKENS_FILE).write_text("\n".join(source.labels) + "\n", encoding="utf-8")
        (partial / "README.md").write_text(model_card(source, "funasr"), encoding="utf-8")
    return ["the teacher is left out: FunASR has no use for it"] if source.teacher else []


def _check_labels(source: Source) -> None:
    faults = [
        f"label {label!r} has line breaks or spaces at its end"
        for label in source.labels
        if label != label.rstrip() or len(label.splitlines()) != 1
    ]
    faults += [f"label {label!r} is there twice" for label in {x for x in source.labels if source.labels.count(x) > 1}]
    if faults:
        raise CheckpointError(f"{source.path}: FunASR's tokens.txt cannot hold these labels: {'; '.join(faults)}")
